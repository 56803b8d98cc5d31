//! Values of parameters: those that they take, those that they don't, and how they are shown.

use anyhow::{Result, ensure};
use config::{Kind, Parameter, Role};
use serde_json::{Value, json};

use crate::THERE;

/// What secrets are shown as.
const MASK: &str = "********";

/// Values that a parameter takes, and how they are shown; the first is no default.
pub(crate) fn values(parameter: &Parameter) -> Vec<(String, Value)> {
    let same = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| ((*text).to_owned(), json!(text)))
            .collect::<Vec<_>>()
    };
    match (parameter.name, parameter.kind) {
        // No number is left of those that are given by themselves.
        ("config_id", _) => vec![("77".to_owned(), json!(77))],
        ("udp_port", _) => vec![
            ("1".to_owned(), json!(1)),
            ("0xffff".to_owned(), json!(65_535)),
        ],
        ("netns", _) => same(&["/proc/self/ns/net"]),
        (_, Kind::Number) => {
            let (least, most) = parameter.range.unwrap_or((0, u64::from(u32::MAX)));
            let hexadecimal = (format!("{most:#x}"), json!(most));
            vec![(least.to_string(), json!(least)), hexadecimal]
        }
        (_, Kind::Boolean) => vec![
            ("yes".to_owned(), json!(true)),
            ("off".to_owned(), json!(false)),
        ],
        (_, Kind::Text) => same(&["some name", "Zürich \"7\""]),
        (_, Kind::Name(_)) => same(&[THERE]),
        (_, Kind::Secret) => vec![("a b\"c".to_owned(), json!(MASK))],
        (_, Kind::SecretOctets) => vec![("0x4142".to_owned(), json!(MASK))],
        (_, Kind::Octets) => vec![
            ("0x4142".to_owned(), json!("4142")),
            ("00ff".to_owned(), json!("00ff")),
        ],
        (_, Kind::Choice(words)) => same(words),
        (_, Kind::Flags(flags)) => {
            let names: Vec<_> = flags.iter().map(|(name, _)| *name).collect();
            vec![
                ("transport,protocol".to_owned(), json!("protocol,transport")),
                ("0x2".to_owned(), json!("fsm")),
                ("all".to_owned(), json!(names.join(","))),
            ]
        }
        ("ipaddr", _) => same(&["127.0.0.3", "::1"]),
        (_, Kind::Address) => same(&["127.0.0.3", "2001:db8::3"]),
        (_, Kind::Ipv4Address) => same(&["10.1.2.3"]),
        (_, Kind::Host) => same(&["192.0.2.8", "lns.example.net"]),
        (_, Kind::Netmask) => vec![
            ("255.255.0.0".to_owned(), json!("16")),
            ("24".to_owned(), json!("24")),
        ],
        (_, Kind::AddressRange) => same(&["10.9.0.1-10.9.0.200"]),
        (_, Kind::Speed) => vec![
            ("2000:3000".to_owned(), json!("2000:3000")),
            ("64000".to_owned(), json!("64000")),
        ],
        (_, Kind::Device) => same(&["lo"]),
        (_, Kind::Program) => same(&["/bin/true"]),
    }
}

/// A value that a parameter does not take.
pub(crate) fn wrong(parameter: &Parameter) -> String {
    match (parameter.kind, parameter.range) {
        (Kind::Text | Kind::Secret | Kind::Name(_), _) => "two\tcolumns".to_owned(),
        (Kind::Device, _) => "a/b".to_owned(),
        (Kind::Host, _) => "a b".to_owned(),
        (Kind::Number, Some((_, most))) => (u128::from(most) + 1).to_string(),
        _ => "no-such-value".to_owned(),
    }
}

pub(crate) fn set(parameter: &Parameter, value: &str) -> String {
    format!("{}={value}", parameter.name)
}

/// Whether a parameter is one to try values of, beside those that name its object.
pub(crate) fn is_tried(parameter: &Parameter) -> bool {
    matches!(parameter.role, Role::Create | Role::Modify | Role::Required)
}

/// What a parameter needs beside itself.
pub(crate) fn companion(name: &str) -> &'static [&'static str] {
    match name {
        "hide_avps" | "auth_mode" => &["secret=s"],
        _ => &[],
    }
}

pub(crate) fn shows(shown: &Value, parameter: &Parameter, expected: &Value) -> Result<()> {
    let is = &shown[parameter.name];
    ensure!(
        is == expected,
        "{} is shown as {is} where {expected} was given",
        parameter.name
    );
    Ok(())
}
