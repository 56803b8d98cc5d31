//! The manual page, from the options.

use std::io::{self, Write};

use clap::{Arg, CommandFactory};
use clap_mangen::Man;
use config::manual::{CommandOption, REVISED, synopsis};

use crate::flags::Flags;

/// What follows the options.
const CONCLUSION: &str = r#".SH SIGNALS
.TP
.B SIGHUP
The configuration file is read again, and what differs is applied: tunnels and sessions that it does not touch stay. A file with
errors changes nothing. Before that the file of
.B \-\-log
is opened anew, so that it can be moved away and goes on under its name.
.TP
.B SIGTERM\fR, \fBSIGINT
Every session and tunnel is closed, and the daemon ends.
.TP
.B SIGUSR1
The detailed log and every trace category are turned on; with the next one, off.
.TP
.B SIGUSR2
Does nothing.
.SH EXIT STATUS
.TP
.B 0
The daemon has ended as it was told to, or the file that
.B \-\-check
names is right.
.TP
.B 1
It could not start, or had to end.
.TP
.B 2
The command line or the configuration is wrong.
.SH FILES
.TP
.I /etc/openl2tpd.conf
The configuration.
.TP
.I /run/openl2tpd/api.sock
The socket at which
.BR l2tpconfig (1)
asks.
.TP
.I /run/openl2tpd.pid
The process ID.
.SH SEE ALSO
.BR openl2tpd.conf (5),
.BR l2tpconfig (1)
"#;

/// Writes openl2tpd(8) as roff source.
pub(crate) fn page(mut to: impl Write) -> io::Result<()> {
    let mut command = Flags::command();
    command.build();
    let options = command.get_arguments().filter_map(option);
    let synopsis = synopsis("openl2tpd", options, None);
    let man = Man::new(Flags::command()).section("8").date(REVISED);
    let man = man
        .title("OPENL2TPD")
        .source("OpenL2TP")
        .manual("System administration");
    man.render_title(&mut to)?;
    man.render_name_section(&mut to)?;
    to.write_all(synopsis.as_bytes())?;
    man.render_description_section(&mut to)?;
    man.render_options_section(&mut to)?;
    to.write_all(CONCLUSION.as_bytes())
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_manual_page_is_current() {
        let mut page = Vec::new();
        super::page(&mut page).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/openl2tpd.8");
        let written = std::fs::read(path).unwrap();
        assert!(written == page, "`cargo xtask man` was not run");
    }
}
