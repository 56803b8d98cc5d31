//! The manual page, from the options and the vocabulary.

use std::io;

use clap::{Arg, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use config::manual::{CommandOption, REVISED, synopsis};

use crate::Flags;
use crate::vocabulary::{Action, Takes, entries};

/// What precedes the commands.
const INTRODUCTION: &str = r#".SH COMMANDS
A command is a class of objects, what to do, and parameters, as in
.PP
.RS
.nf
tunnel create tunnel_name=office dest_ipaddr=192.0.2.1
.fi
.RE
.PP
Words may be in capitals and may be cut short as long as only one begins so. Values are quoted as in
.BR openl2tpd.conf (5),
which also tells what each parameter of an object means. Several commands are separated by a semicolon.
.PP
Without a command they are read from standard input, a line each. At a terminal there is a prompt, where TAB completes,
.B ?
tells what can come next, and lines of before can be called up again, save those that hold secrets.
"#;

/// What follows the commands.
const CONCLUSION: &str = r#".SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
Refused.
.TP
.B 2
Not understood.
.TP
.B 3
There is no such object.
.TP
.B 4
There is no daemon at the socket.
.SH ENVIRONMENT
.TP
.B L2TP_HISTFILE
The file that keeps the lines typed at the prompt; empty: none; not set:
.IR ~/.l2tp_history .
.TP
.B L2TP_HISTFILESIZE
How many lines it keeps; not set: 500.
.SH FILES
.TP
.I /run/openl2tpd/api.sock
The daemon's socket.
.SH SEE ALSO
.BR openl2tpd (8),
.BR openl2tpd.conf (5)
"#;

/// l2tpconfig(1) as roff source.
pub(crate) fn page() -> io::Result<String> {
    let mut command = Flags::command();
    command.build();
    let options = command.get_arguments().filter_map(option);
    let synopsis = synopsis("l2tpconfig", options, Some("COMMAND"));
    let man = Man::new(Flags::command()).section("1").date(REVISED);
    let man = man
        .title("L2TPCONFIG")
        .source("OpenL2TP")
        .manual("User commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend(synopsis.as_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend(INTRODUCTION.as_bytes());
    commands().to_writer(&mut page)?;
    page.extend(CONCLUSION.as_bytes());
    String::from_utf8(page).map_err(io::Error::other)
}

/// An option as the synopsis has it; none for what is hidden or no option.
fn option(argument: &Arg) -> Option<CommandOption<'_>> {
    let names = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values());
    let is_shown = !argument.is_hide_set() && !argument.is_positional();
    is_shown.then(|| CommandOption {
        short: argument.get_short(),
        long: argument.get_long(),
        value: names.and_then(|names| Some(names.first()?.as_str())),
    })
}

/// Every command, and what each takes; what a parameter of an object means is another page's.
fn commands() -> Roff {
    let mut roff = Roff::new();
    for entry in entries() {
        roff.control("SS", [entry.words.join(" ").as_str()]);
        roff.text([roman(entry.help)]);
        if let Action::Model(..) = entry.action {
            let names = entry.arguments.iter().map(|a| match a.takes {
                Takes::Nothing => a.name.to_owned(),
                Takes::Value(_) => format!("{}=", a.name),
            });
            let names: Vec<_> = names.collect();
            if !names.is_empty() {
                roff.control("PP", []);
                roff.text([roman("Takes "), bold(names.join(" "))]);
            }
            continue;
        }
        for argument in entry.arguments {
            roff.control("TP", []);
            roff.text([bold(argument.name)]);
            roff.text([roman(argument.help)]);
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/l2tpconfig.1");
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written == page().unwrap(), "`cargo xtask man` was not run");
    }

    #[test]
    fn the_synopsis_tells_which_options_take_a_value() {
        let page = page().unwrap();
        let line = page
            .lines()
            .find(|line| line.starts_with("\\fBl2tpconfig\\fR ["));
        let line = line
            .unwrap()
            .replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
            .replace('\\', "");
        for option in [
            "[--socket PATH]",
            "[--json]",
            "[-R HOST]",
            "[--pcap FILE]",
            "[-h|--help]",
            "[COMMAND]",
        ] {
            assert!(line.contains(option), "{line}");
        }
        assert!(!line.contains("print-manual"), "{line}");
    }

    #[test]
    fn the_manual_page_names_every_command_and_argument() {
        let page = page().unwrap();
        for entry in entries() {
            let heading = format!("\n.SS \"{}\"\n", entry.words.join(" "));
            let start = page
                .find(&heading)
                .or_else(|| page.find(&heading.replace('"', "")));
            let section = &page[start.unwrap() + 1..];
            let section = &section[..section.find("\n.S").unwrap()];
            for argument in entry.arguments {
                assert!(section.contains(argument.name), "{section}");
            }
        }
    }
}
