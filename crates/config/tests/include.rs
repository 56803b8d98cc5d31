//! Files that include others, which here are in a table.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use config::{Diagnostic, Loaded, Model, Source, parse_command};

/// Loads the first of `files`, which are names and texts; a pattern is the beginning of a name.
fn load(files: &[(&str, &str)]) -> Result<Loaded, Vec<Diagnostic>> {
    let source = |&(name, text): &(&str, &str)| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    Model::load_with(source(&files[0]), &mut |pattern, _| {
        let begins = files.iter().filter(|(name, _)| name.starts_with(pattern));
        let found: Vec<_> = begins.map(source).collect();
        if found.is_empty() && pattern == "missing" {
            return Err("cannot read missing".to_owned());
        }
        Ok(found)
    })
}

/// `FILE:LINE:COLUMN: MESSAGE` of each.
fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|d| format!("{}:{}:{}: {}", d.file, d.line, d.column, d.message))
        .collect()
}

#[test]
fn what_is_included_holds_in_its_place() {
    let loaded = load(&[
        ("main", "system modify max_tunnels=1 max_sessions=1\nINCLUDE \"d/\"\nsystem modify max_tunnels=4"),
        ("d/a", "system modify max_tunnels=2 max_sessions=2"),
        ("d/b", "system modify max_sessions=3 # no newline"),
    ])
    .unwrap();
    let system = &loaded.model.system;
    assert_eq!((system.max_tunnels(), system.max_sessions()), (4, 3));
    assert_eq!(
        load(&[("main", "include none")]).unwrap().model,
        Model::default()
    );
}

#[test]
fn errors_and_warnings_name_their_file_and_their_place_in_it() {
    let warned = load(&[
        ("main", "include d\nsystem modify max_tunnels=-1\n"),
        (
            "d",
            "\ntunnel profile modify profile_name=default max_retries=0",
        ),
    ])
    .unwrap();
    assert_eq!(
        lines(&warned.warnings),
        [
            "main:2:27: max_tunnels takes 0 to 4294967295: 0 is taken for -1",
            "d:2:56: max_retries takes 1 to 100: 1 is taken for 0",
        ]
    );
    let errors = load(&[
        ("main", "include d\nbogus\ninclude missing\n"),
        ("d/1", "system modify"),
        (
            "d/2",
            "# nothing\nuser create user_name=x password=\"hush\" bogus=1",
        ),
        ("d/3", "system modify max_tunnels="),
    ])
    .unwrap_err();
    let lines = lines(&errors);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("main:2:1: "), "{lines:?}");
    assert_eq!(lines[1], "main:3:9: cannot read missing");
    assert!(lines[2].starts_with("d/2:2:41: "), "{lines:?}");
    assert!(lines[3].starts_with("d/3:1:27: "), "{lines:?}");
    assert!(!errors[2].source_line.contains("hush"));
}

#[test]
fn a_name_that_no_file_gives_is_missed_where_it_is_used() {
    let errors = load(&[
        ("main", "include d"),
        (
            "d",
            "\ntunnel create tunnel_name=t dest_ipaddr=h profile_name=isp",
        ),
    ])
    .unwrap_err();
    assert_eq!(lines(&errors), ["d:2:56: there is no tunnel profile `isp`"]);
}

#[test]
fn a_file_that_includes_itself_is_an_error_that_shows_the_chain() {
    let errors = load(&[
        ("a", "include b"),
        ("b", "\n include \"c\""),
        ("c", "include b"),
    ])
    .unwrap_err();
    assert_eq!(
        lines(&errors),
        ["c:1:9: b includes itself: b includes c includes b"]
    );
    let errors = load(&[("a", "include a")]).unwrap_err();
    assert_eq!(lines(&errors), ["a:1:9: a includes itself: a includes a"]);
}

#[test]
fn files_lie_in_each_other_sixteen_deep_at_most() {
    let letter = |n: u8| char::from(b'a' + n).to_string();
    let chain = |deep: u8| {
        let files: Vec<_> = (0..=deep)
            .map(|n| {
                (
                    letter(n),
                    if n == deep {
                        String::new()
                    } else {
                        format!("include {}", letter(n + 1))
                    },
                )
            })
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        load(&files).map_err(|errors| lines(&errors))
    };
    assert!(chain(16).is_ok());
    let errors = chain(17).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("q:1:9: files lie in each other more than 16 deep: a includes b"),
        "{errors:?}"
    );
}

#[test]
fn files_that_multiply_come_to_an_end() {
    let texts: Vec<_> = (b'a'..=b'n')
        .map(|c| format!("include {0}\ninclude {0}\n", char::from(c + 1)))
        .collect();
    let names: Vec<_> = (b'a'..=b'n').map(|c| char::from(c).to_string()).collect();
    let files: Vec<_> = names
        .iter()
        .zip(&texts)
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let errors = load(&files).unwrap_err();
    assert!(
        errors.iter().all(|e| e.message.contains("4096")),
        "{}",
        errors[0]
    );
}

#[test]
fn an_include_takes_one_name_and_is_no_command() {
    for (text, place) in [
        ("include", "a:1:8: "),
        ("include a b", "a:1:11: "),
        ("include \"\"", "a:1:9: "),
        ("include = b", "a:1:9: "),
    ] {
        let errors = lines(&load(&[("a", text)]).unwrap_err());
        assert!(errors[0].starts_with(place), "{errors:?}");
    }
    assert!(parse_command("include x").is_err());
    let errors = Model::load("f", "include x").unwrap_err();
    assert_eq!(lines(&errors), ["f:1:9: no files can be included here"]);
}
