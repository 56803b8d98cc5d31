//! The automaton against RFC 1661 section 4.1, cell by cell.
#![allow(clippy::unwrap_used, reason = "tests only")]

use ppp::automaton::{Action, Event, State, transition};

/// The table: a row an event, a column a state from 0 to 9, a cell `actions/next`, a dash for what can't happen.
const TABLE: [(Event, [&str; 10]); 16] = [
    (
        Event::Up,
        ["2", "irc,scr/6", "-", "-", "-", "-", "-", "-", "-", "-"],
    ),
    (
        Event::Down,
        ["-", "-", "0", "tls/1", "0", "1", "1", "1", "1", "tld/1"],
    ),
    (
        Event::Open,
        ["tls/1", "1", "irc,scr/6", "3", "5", "5", "6", "7", "8", "9"],
    ),
    (
        Event::Close,
        [
            "0",
            "tlf/0",
            "2",
            "2",
            "4",
            "4",
            "irc,str/4",
            "irc,str/4",
            "irc,str/4",
            "tld,irc,str/4",
        ],
    ),
    (
        Event::TimeoutRetry,
        [
            "-", "-", "-", "-", "str/4", "str/5", "scr/6", "scr/6", "scr/8", "-",
        ],
    ),
    (
        Event::TimeoutLast,
        [
            "-", "-", "-", "-", "tlf/2", "tlf/3", "tlf/3", "tlf/3", "tlf/3", "-",
        ],
    ),
    (
        Event::RequestGood,
        [
            "-",
            "-",
            "sta/2",
            "irc,scr,sca/8",
            "4",
            "5",
            "sca/8",
            "sca,tlu/9",
            "sca/8",
            "tld,scr,sca/8",
        ],
    ),
    (
        Event::RequestBad,
        [
            "-",
            "-",
            "sta/2",
            "irc,scr,scn/6",
            "4",
            "5",
            "scn/6",
            "scn/7",
            "scn/6",
            "tld,scr,scn/6",
        ],
    ),
    (
        Event::Ack,
        [
            "-",
            "-",
            "sta/2",
            "sta/3",
            "4",
            "5",
            "irc/7",
            "scr/6",
            "irc,tlu/9",
            "tld,scr/6",
        ],
    ),
    (
        Event::NakOrReject,
        [
            "-",
            "-",
            "sta/2",
            "sta/3",
            "4",
            "5",
            "irc,scr/6",
            "scr/6",
            "irc,scr/8",
            "tld,scr/6",
        ],
    ),
    (
        Event::TerminateRequest,
        [
            "-",
            "-",
            "sta/2",
            "sta/3",
            "sta/4",
            "sta/5",
            "sta/6",
            "sta/6",
            "sta/6",
            "tld,zrc,sta/5",
        ],
    ),
    (
        Event::TerminateAck,
        [
            "-",
            "-",
            "2",
            "3",
            "tlf/2",
            "tlf/3",
            "6",
            "6",
            "8",
            "tld,scr/6",
        ],
    ),
    (
        Event::UnknownCode,
        [
            "-", "-", "scj/2", "scj/3", "scj/4", "scj/5", "scj/6", "scj/7", "scj/8", "scj/9",
        ],
    ),
    (
        Event::RejectTolerable,
        ["-", "-", "2", "3", "4", "5", "6", "6", "8", "9"],
    ),
    (
        Event::RejectFatal,
        [
            "-",
            "-",
            "tlf/2",
            "tlf/3",
            "tlf/2",
            "tlf/3",
            "tlf/3",
            "tlf/3",
            "tlf/3",
            "tld,irc,str/5",
        ],
    ),
    (
        Event::Echo,
        ["-", "-", "2", "3", "4", "5", "6", "7", "8", "ser/9"],
    ),
];

fn action(name: &str) -> Action {
    match name {
        "tlu" => Action::LayerUp,
        "tld" => Action::LayerDown,
        "tls" => Action::LayerStarted,
        "tlf" => Action::LayerFinished,
        "irc" => Action::InitializeRestartCount,
        "zrc" => Action::ZeroRestartCount,
        "scr" => Action::SendRequest,
        "sca" => Action::SendAck,
        "scn" => Action::SendNakOrReject,
        "str" => Action::SendTerminateRequest,
        "sta" => Action::SendTerminateAck,
        "scj" => Action::SendCodeReject,
        "ser" => Action::SendEchoReply,
        other => panic!("no action is called {other}"),
    }
}

fn cell(text: &str) -> Option<(Vec<Action>, State)> {
    if text == "-" {
        return None;
    }
    let (actions, next) = text.split_once('/').unwrap_or(("", text));
    let actions = actions
        .split(',')
        .filter(|name| !name.is_empty())
        .map(action)
        .collect();
    Some((actions, State::ALL[next.parse::<usize>().unwrap()]))
}

#[test]
fn every_cell_is_the_rfcs() {
    assert_eq!(TABLE.map(|(event, _)| event), Event::ALL);
    for (event, row) in TABLE {
        for (state, text) in State::ALL.into_iter().zip(row) {
            let got = transition(state, event).map(|(actions, next)| (actions.to_vec(), next));
            assert_eq!(got, cell(text), "{event:?} in {state:?}");
        }
    }
}

#[test]
fn the_timed_states_are_those_that_know_timeouts() {
    for state in State::ALL {
        assert_eq!(
            state.is_timed(),
            transition(state, Event::TimeoutRetry).is_some(),
            "{state:?}"
        );
    }
}
