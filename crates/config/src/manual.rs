//! The manual page of the configuration file, from the declarations.

use std::fmt::Write;

use crate::{Object, Parameter, Role, Verb};

/// When the manual pages of the programs were last revised by hand, as the title of this one has it.
pub const REVISED: &str = "2026-11-26";

/// An option of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandOption<'a> {
    /// Its letter.
    pub short: Option<char>,
    /// Its long name.
    pub long: Option<&'a str>,
    /// What its value is called, if it takes one.
    pub value: Option<&'a str>,
}

/// The section SYNOPSIS of the manual page of a program, as roff: its options, and what its other arguments are called.
pub fn synopsis<'a>(
    program: &str,
    options: impl IntoIterator<Item = CommandOption<'a>>,
    others: Option<&str>,
) -> String {
    let bold = |text: String| format!("\\fB{}\\fR", text.replace('-', "\\-"));
    let mut text = format!(".SH SYNOPSIS\n{}", bold(program.to_owned()));
    for CommandOption { short, long, value } in options {
        let names = [
            short.map(|c| format!("-{c}")),
            long.map(|name| format!("--{name}")),
        ];
        let names: Vec<_> = names.into_iter().flatten().map(bold).collect();
        let value = value.map_or_else(String::new, |value| format!(" \\fI{value}\\fR"));
        text += &format!(" [{}{value}]", names.join("|"));
    }
    if let Some(others) = others {
        text += &format!(" [\\fI{others}\\fR]");
    }
    text + "\n"
}

/// What precedes the objects.
const INTRODUCTION: &str = r#"'\" t
.TH OPENL2TPD.CONF 5 2026-11-26 "OpenL2TP" "File formats"
.SH NAME
openl2tpd.conf \- configuration of the L2TP daemon
.SH DESCRIPTION
The file is a list of commands that
.BR openl2tpd (8)
reads when it starts. The same commands are understood by
.BR l2tpconfig (1).
Each is the name of a class of objects, what to do, and parameters:
.PP
.RS
.nf
tunnel profile create profile_name=isp \e
    host_name="cpe.example.org" hello_timeout=30
.fi
.RE
.PP
A command ends with its line or with a semicolon; a backslash at the end of a line continues it on the next. What follows
.B #
is a comment. Words may be in capitals and may be cut short as long as only one word begins so. A value that has spaces
or any of
.B = ; # \(dq \e
is put in double quotes, within which
.B \e\(dq
and
.B \e\e
stand for a quote and a backslash. The order of the commands does not matter where one object names another. When
anything in a file is wrong, all of its errors are reported and none of it is used.
.PP
A boolean is
.B yes
or
.B no
.RB ( on ", " off ", " true ", " false ", " enable ", " disable ", " 1 " and " 0
are understood); a number is decimal, or hexadecimal after
.BR 0x .
.SH INCLUDED FILES
.RS
.nf
include "conf.d/*.conf"
.fi
.RE
.PP
stands for the files whose names match, sorted by name, as if what they say stood in its place. A name that does not begin with
.B /
is meant from the folder of the file that it stands in. In patterns
.B *
and
.B ?
stand for any text and any character, and
.B [abc]
for one of these, in one part of a path each; they match no name that begins with a dot unless they begin with one. That nothing matches a pattern
is no error, a file that is named and missing is. Files may include others, 16 deep at most, but not themselves; none may be larger than 64 MiB.
.SH NUMBERS OUT OF RANGE
A number of a file that is out of its parameter's range is no error: the nearest that is in range is taken, and a warning names both.
.B "openl2tpd \-\-check"
prints the warnings, and the daemon logs them. Commands that are given otherwise are refused.
.SH PROFILES
Peer, tunnel, session and PPP profiles hold parameters that several objects have in common. There always is one called
.B default
of each. What an object does not set it has from its profile, else from the profile
.BR default ,
else it is the default given below. A tunnel that a peer opens has the tunnel profile of the peer profile that matches the
peer: the one named like the Host Name that it sends, else the one whose
.B peer_ipaddr
and
.B netmask
match its address most closely, else
.BR default .
The PPP profile of a session is its own, else that of its session profile, its tunnel or its peer profile, the first of
them that names another than
.BR default .
"#;

/// What precedes the table of reloading.
const RELOAD: &str = r#".SH RELOADING
What a parameter that has changed in the file touches:
.B live
is felt by the tunnels and sessions that are there, at once;
.B next
by those that are made afterwards;
.B restart
needs the object made anew: a tunnel or session ends for it, and is opened again.
Sessions that the file does not have, such as those of the peer, end with their tunnel, and the tunnels of peers with a listener that changes or
goes; the report of a reload names them.
A listener that cannot be opened refuses the whole file, which changes nothing.
The daemon's own port is served while there is no listener, and beside listeners while tunnels of ours that name none start from it; its peers are
told when the first listener comes.
What is read again has to be a regular file.
What the file no longer gives is from then on its profile's or the default; a tunnel or session is made anew for it only where there is neither.
.PP
.TS
l l l.
"#;

/// What follows the objects.
const CONCLUSION: &str = r#".SH EXAMPLES
A server for the users of a pool:
.PP
.RS
.nf
ip_pool create pool_name=clients range=10.0.0.10-10.0.0.250
ppp profile modify profile_name=default \e
    local_ipaddr=10.0.0.1 ip_pool_name=clients
user create user_name="fred" password="secret"
.fi
.RE
.PP
A client:
.PP
.RS
.nf
ppp profile create profile_name=isp default_route=yes
tunnel create tunnel_name=isp dest_ipaddr=lns.example.org persist=yes
session create tunnel_name=isp ppp_profile_name=isp \e
    user_name="fred" user_password="secret"
.fi
.RE
.SH FILES
.I /etc/openl2tpd.conf
.SH SEE ALSO
.BR openl2tpd (8),
.BR l2tpconfig (1)
.SH SECURITY
L2TP authenticates a tunnel when it is opened, and neither protects nor authenticates what is sent through it: across a path that is not yours,
run it inside IPsec.
docs/security.md says what the limits guard against, which counters tell of it, and what L2TP cannot see.
"#;

/// openl2tpd.conf(5) as roff source.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for &object in Object::ALL {
        // Writing to a string does not fail.
        let _ = section(&mut page, object);
    }
    let _ = reload(&mut page);
    page + CONCLUSION
}

/// The table of what a change of each parameter touches.
fn reload(page: &mut String) -> std::fmt::Result {
    page.push_str(RELOAD);
    for &object in Object::ALL {
        for parameter in object.parameters() {
            if parameter.role != Role::ReadOnly {
                let touches = parameter.touches(object);
                writeln!(page, "{object}\t{}\t{touches}", parameter.name)?;
            }
        }
    }
    page.push_str(".TE\n");
    Ok(())
}

fn section(page: &mut String, object: Object) -> std::fmt::Result {
    writeln!(page, ".SH {}", object.words().to_uppercase())?;
    writeln!(page, "{}", text(object.help()))?;
    for verb in object
        .verbs()
        .iter()
        .filter(|verb| matches!(verb, Verb::Create | Verb::Modify | Verb::Delete))
    {
        writeln!(page, ".br\n.B {object} {verb}\n.IR name = value \" ...\"")?;
    }
    object
        .parameters()
        .iter()
        .try_for_each(|parameter| entry(page, object, parameter))
}

fn entry(page: &mut String, object: Object, parameter: &Parameter) -> std::fmt::Result {
    writeln!(page, ".TP\n.B {}", text(parameter.name))?;
    let expects = parameter.expects();
    let (first, rest) = expects.split_at(expects.chars().next().map_or(0, char::len_utf8));
    write!(
        page,
        "{} {}{}.",
        text(parameter.help),
        first.to_uppercase(),
        text(rest)
    )?;
    if let Some(default) = &parameter.default {
        write!(page, " The default is {}.", text(default))?;
    }
    match parameter.role {
        Role::Key | Role::Required => write!(page, " Required.")?,
        Role::Id => write!(page, " Given by the daemon; for selection only.")?,
        Role::Create if !object.is_profile() => write!(page, " Fixed at creation.")?,
        Role::ReadOnly => write!(page, " Only shown.")?,
        Role::Label | Role::Create | Role::Modify | Role::Action => {}
    }
    if parameter.is_pending() {
        write!(page, " Kept and shown; it has no effect yet.")?;
    }
    for alias in parameter.aliases {
        write!(page, " Also spelt {}.", text(alias))?;
    }
    writeln!(page)
}

/// Text with roff's own characters made harmless. No text of ours begins with `.` or `'`.
fn text(plain: &str) -> String {
    plain.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, Source};

    #[test]
    fn the_page_names_every_class_and_parameter() {
        let page = page();
        for &object in Object::ALL {
            let start = page
                .find(&format!("\n.SH {}\n", object.words().to_uppercase()))
                .unwrap()
                + 1;
            let section = &page[start..];
            let section = &section[..section.find("\n.SH ").unwrap()];
            for parameter in object.parameters() {
                assert!(
                    section.contains(&format!("\n.B {}\n", parameter.name)),
                    "{object} {}",
                    parameter.name
                );
            }
        }
    }

    #[test]
    fn the_table_of_reloading_says_of_every_parameter_what_a_change_touches() {
        let page = page();
        let table = page.split("\nl l l.\n").nth(1).unwrap();
        let rows: Vec<_> = table.split(".TE").next().unwrap().lines().collect();
        let all = Object::ALL.iter().flat_map(|&object| {
            let touched = object
                .parameters()
                .iter()
                .filter(|p| p.role != Role::ReadOnly);
            touched.map(move |p| format!("{object}\t{}\t{}", p.name, p.touches(object)))
        });
        assert_eq!(rows, all.collect::<Vec<_>>());
        for row in [
            "system\ttrace_flags\tlive",
            "ppp profile\tmtu\tnext",
            "tunnel\tsecret\trestart",
        ] {
            assert!(rows.contains(&row), "{row}");
        }
    }

    /// The examples are what they claim to be.
    #[test]
    fn the_examples_load() {
        let page = page();
        let examples: Vec<_> = page
            .split(".nf\n")
            .skip(1)
            .filter_map(|rest| rest.split(".fi").next())
            .collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            let source = Source {
                name: "example".to_owned(),
                text: example.replace("\\e", "\\"),
            };
            Model::load_with(source, &mut |_, _| Ok(Vec::new())).unwrap();
        }
    }
}
