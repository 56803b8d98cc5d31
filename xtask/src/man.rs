//! `cargo xtask man`: the manual pages and the description of the interface, which come from the declarations of the configuration, of the commands
//! and of the options.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::test::{cargo, root};

/// Where the page of the configuration file is, from the root of the workspace.
const CONFIGURATION: &str = "docs/man/openl2tpd.conf.5";

/// The programs that print their own pages, and where those are.
const PROGRAMS: [(&str, &str); 2] = [
    ("l2tpconfig", "docs/man/l2tpconfig.1"),
    ("openl2tpd", "docs/man/openl2tpd.8"),
];

/// Where the interface's OpenAPI document is.
const INTERFACE: &str = "docs/openapi.json";

/// Writes every page, and the document.
pub(crate) fn write() -> Result<ExitCode> {
    put(CONFIGURATION, config::manual::page().as_bytes())?;
    put(INTERFACE, interface().as_bytes())?;
    for (program, page) in PROGRAMS {
        let run = [
            "run",
            "--quiet",
            "--package",
            program,
            "--",
            "--print-manual",
        ];
        let output = cargo(&run).stderr(Stdio::inherit()).output()?;
        ensure!(
            output.status.success(),
            "{program} --print-manual: {}",
            output.status
        );
        put(page, &output.stdout)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn put(file: &str, text: &[u8]) -> Result<()> {
    std::fs::write(root().join(file), text).with_context(|| format!("cannot write {file}"))?;
    println!("{file}");
    Ok(())
}

fn interface() -> String {
    format!("{:#}\n", api::server::document())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::read_to_string;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_of_the_configuration_is_current() {
        let written = read_to_string(root().join(CONFIGURATION)).unwrap();
        assert!(
            written == config::manual::page(),
            "`cargo xtask man` was not run"
        );
    }

    #[test]
    fn the_document_of_the_interface_is_current() {
        let written = read_to_string(root().join(INTERFACE)).unwrap();
        assert!(written == interface(), "`cargo xtask man` was not run");
    }

    /// The README's indented blocks are configurations, commands, or both; those that configure must load.
    #[test]
    fn the_configurations_of_the_readme_load() {
        let readme = read_to_string(root().join("README.md")).unwrap();
        let mut loaded = 0;
        for section in readme.split("\n### ").skip(1) {
            let indented = section.lines().filter_map(|line| line.strip_prefix("    "));
            let text = indented.collect::<Vec<_>>().join("\n");
            if !text.contains("profile_name=") {
                continue;
            }
            loaded += 1;
            if let Err(diagnostics) = config::Model::load("README.md", &text) {
                panic!("{}", diagnostics[0]);
            }
        }
        assert_eq!(loaded, 2, "an LNS and a LAC");
    }

    /// `crate::file::test` in the table of RFC coverage is a test in `crates/crate/**/file.rs`, `file/main.rs`, or of a crate elsewhere.
    #[test]
    fn every_test_that_the_rfc_coverage_names_exists() {
        let table = read_to_string(root().join("docs/rfc-coverage.md")).unwrap();
        let quoted = table.split('`').skip(1).step_by(2);
        let names: BTreeSet<_> = quoted
            .filter(|name| name.matches("::").count() == 2)
            .collect();
        assert!(names.len() > 100, "{}", names.len());
        let missing: Vec<_> = names
            .into_iter()
            .filter(|name| !name.starts_with("crate::") && !exists(name))
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    /// A row of the table says of which objects it is, of which parameter, and which tests see its effect.
    #[test]
    fn every_parameter_has_a_row_in_the_parameter_coverage_and_the_tests_named_there_exist() {
        let table = read_to_string(root().join("docs/parameter-coverage.md")).unwrap();
        let mut rows = BTreeSet::new();
        for line in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [objects, parameter, seen_by] = cells[..] else {
                panic!("{line}");
            };
            for object in objects.split(", ") {
                rows.insert((object, parameter, seen_by == "no effect yet"));
            }
            let tests: Vec<_> = seen_by.split('`').skip(1).step_by(2).collect();
            let from_outside = tests.iter().any(|test| !is_of_a_library(test));
            assert!(from_outside != (seen_by == "no effect yet"), "{line}");
            let missing: Vec<_> = tests.into_iter().filter(|name| !exists(name)).collect();
            assert_eq!(missing, Vec::<&str>::new());
        }
        let of = |object: &config::Object| {
            let object = *object;
            let parameters = object.parameters().iter();
            parameters.map(move |p| (object.words(), p.name, p.is_pending()))
        };
        let declared: BTreeSet<_> = config::Object::ALL.iter().flat_map(of).collect();
        let lacking: Vec<_> = declared.symmetric_difference(&rows).collect();
        assert_eq!(lacking, Vec::<&(&str, &str, bool)>::new());
    }

    /// Whether a test calls what lies inside the daemon.
    fn is_of_a_library(name: &str) -> bool {
        ["config::", "l2tp::", "ppp::", "engine::"]
            .iter()
            .any(|library| name.starts_with(library))
    }

    fn exists(name: &str) -> bool {
        let mut parts = name.split("::");
        let [krate, file, test] = [(); 3].map(|()| parts.next().unwrap());
        let function = format!("fn {test}(");
        ["crates", "tests", ""]
            .iter()
            .flat_map(|folder| sources(&root().join(folder).join(krate)))
            .filter(|path| {
                let stem = path.with_extension("");
                stem.ends_with(file) || stem.ends_with(Path::new(file).join("main"))
            })
            .any(|path| read_to_string(path).unwrap().contains(&function))
    }

    fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
        let mut all = Vec::new();
        for entry in folder.read_dir().into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.extend(sources(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push(path);
            }
        }
        all
    }
}
