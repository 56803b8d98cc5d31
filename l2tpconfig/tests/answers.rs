//! The program against answers that no test's daemon would give.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use api::ReloadReport;

/// Runs it where a daemon answers the one request with this, whatever it is.
fn run(arguments: &[&str], answer: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let length = answer.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = BufReader::new(stream.try_clone().unwrap()).lines();
        let _ = head
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .last();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"));
    command.arg("--socket").arg(&socket).args(arguments);
    command.output().unwrap()
}

#[test]
fn a_reload_of_which_a_part_failed_is_told_whole_and_ends_with_1() {
    let mut report = ReloadReport::default();
    report.added.push("user a".to_owned());
    let answer = |report: &ReloadReport| serde_json::to_string(report).unwrap();
    let well = run(&["config", "reload"], &answer(&report));
    assert_eq!(well.status.code(), Some(0));
    report.failed.push("listener l: it is taken".to_owned());
    for arguments in [&["config", "reload"][..], &["--json", "config", "reload"]] {
        let output = run(arguments, &answer(&report));
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.contains("user a") && said.contains("listener l: it is taken"),
            "{said}"
        );
    }
}
