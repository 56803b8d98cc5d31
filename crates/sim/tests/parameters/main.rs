//! The effect of each parameter, seen from outside: what goes over the wire between two engines, and when. `docs/parameter-coverage.md` says
//! which test is of which parameter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

#[path = "../common/mod.rs"]
mod common;

mod frames;
mod mppe;
mod peer;
mod ppp;
mod session;
mod system;
mod tunnel;

use api::{CommandError, Response};
use config::{Object, Verb};
use engine::Command;
use sim::NodeId;

use common::{Pair, ask};

/// A LAC whose tunnel has these parameters too.
fn lac(tunnel: &str) -> String {
    format!(
        "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 {tunnel}
         session create tunnel_name=t session_name=s user_name=alice user_password=wonderland\n"
    )
}

/// The same: with parameters of the tunnel's own, of its profile, of the default profile.
fn lacs(parameters: &str) -> [String; 3] {
    let profile = |name: &str| format!("tunnel profile modify profile_name={name} {parameters}\n");
    [
        lac(parameters),
        format!(
            "tunnel profile create profile_name=p\n{}{}",
            profile("p"),
            lac("profile_name=p")
        ),
        profile("default") + &lac(""),
    ]
}

/// The same with parameters of the default PPP profile.
fn with_ppp(base: &str, parameters: &str) -> String {
    format!("{base}\nppp profile modify profile_name=default {parameters}\n")
}

/// `tunnel modify` of a node's tunnel `t`, as it is typed.
fn modify(pair: &mut Pair, node: NodeId, parameters: &str) -> Result<Response, CommandError> {
    let text = format!("tunnel modify tunnel_name=t {parameters}");
    let command = config::parse_command(&text).unwrap();
    assert_eq!(
        (command.object, command.verb),
        (Object::Tunnel, Verb::Modify)
    );
    let mut change: config::Tunnel = command.build().unwrap();
    change.tunnel_name = None;
    let which = common::tunnel("t");
    ask(
        &mut pair.world,
        node,
        Command::TunnelModify(which, Box::new(change)),
    )
}
