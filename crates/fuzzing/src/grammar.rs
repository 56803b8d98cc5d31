//! The configuration file: what loads is written and loaded as the same, and what does not says where it is wrong.

use config::{Loaded, Model};

/// A whole file, and each of its lines as a command that was typed.
pub(crate) fn config(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    match Model::load("fuzz.conf", text) {
        Ok(Loaded { model, .. }) => {
            let commands = model.to_commands();
            let again = Model::load("saved.conf", &commands);
            assert_eq!(
                again.as_ref().map(|again| &again.model),
                Ok(&model),
                "{commands}"
            );
        }
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "a file is refused for a reason");
            for diagnostic in diagnostics {
                assert!(diagnostic.to_string().contains("fuzz.conf"));
            }
        }
    }
    let mut model = Model::default();
    for line in text.lines() {
        match config::parse_command(line) {
            Ok(command) => {
                let before = model.clone();
                if model.apply(&command).is_err() {
                    assert_eq!(model, before, "a command that fails changes nothing");
                }
            }
            Err(diagnostic) => assert!(!diagnostic.to_string().is_empty()),
        }
        config::command_line(line.split(' '));
    }
}
