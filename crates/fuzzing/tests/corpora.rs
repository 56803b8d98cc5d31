//! What the fuzzer found worth keeping runs in every test: each octet string in `fuzz/corpus`, in its target.
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fuzzing::TARGETS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_target_takes_its_corpus() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let corpus = folder().join("corpus").join(target.name);
        let files = names(&corpus);
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for file in files {
            let octets = fs::read(corpus.join(&file)).unwrap();
            if catch_unwind(|| (target.run)(&octets)).is_err() {
                failed.push(format!("{}/{file}", target.name));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn every_target_is_one_of_the_fuzzers() {
    let mut targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    targets.sort_unstable();
    assert_eq!(names(&folder().join("corpus")), targets);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let bins = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("name = "));
    let mut bins: Vec<_> = bins.map(|name| name.trim_matches('"')).collect();
    bins.retain(|name| *name != "fuzz");
    bins.sort_unstable();
    assert_eq!(bins, targets);
}
