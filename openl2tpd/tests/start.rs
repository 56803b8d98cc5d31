//! Starts that come to nothing leave nothing behind.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::process::{Command, Stdio};

use common::Place;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_signal_in_the_midst_of_the_start_leaves_no_files() {
    // The moment is another one each time.
    for _ in 0..20 {
        let place = Place::new();
        let mut child = place
            .command("")
            .arg("-f")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !place.file("pid").exists() && child.try_wait().unwrap().is_none() {}
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{ended}");
        assert!(!place.file("pid").exists() && !place.file("socket").exists());
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_whole_is_none() {
    let place = Place::new();
    let daemon = place.command("");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\" -f"]);
    command.arg(daemon.get_program()).args(daemon.get_args());
    let output = command
        .current_dir(place.directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot write the pid file"), "{said}");
    assert!(!place.file("pid").exists());
}
