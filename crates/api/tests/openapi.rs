//! The document that describes the interface, against the routes that serve it.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use api::server::{Backend, EventLog, serve};
use api::{CommandError, Request, Response, TraceEvent, TraceRequest, openapi};
use tokio::sync::mpsc::{Receiver, channel};

struct Nobody;

impl Backend for Nobody {
    async fn call(&self, _: Request) -> Result<Response, CommandError> {
        Ok(Response::Done)
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::new(EventLog::new(1, 1))
    }

    fn trace(&self, _: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        Ok(channel(1).1)
    }
}

#[test]
fn every_path_of_the_document_takes_just_the_methods_that_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            serve(listener, Arc::new(Nobody)).await
        })
    });
    let document = openapi::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace(['{', '}'], "");
        let mut stream = UnixStream::connect(&socket).unwrap();
        let request = format!("OPTIONS {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let answer = answer.to_lowercase();
        let allow = answer.lines().find_map(|line| line.strip_prefix("allow: "));
        let mut takes: BTreeSet<_> = allow.unwrap_or_default().split(',').collect();
        takes.remove("head");
        let keys = item.as_object().unwrap().keys().map(String::as_str);
        let says: BTreeSet<_> = keys.filter(|key| *key != "parameters").collect();
        assert_eq!(says, takes, "{path}");
    }
}

#[test]
fn every_path_that_is_routed_is_in_the_document() {
    let document = openapi::document();
    let routes = include_str!("../src/server/mod.rs").split('"');
    for path in routes.filter(|text| text.starts_with("/v1/")) {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
}

#[test]
fn secrets_are_only_written_and_numbers_have_their_ranges() {
    let document = openapi::document();
    let of = |object: &str, name: &str| {
        document["components"]["schemas"][object]["properties"][name].clone()
    };
    assert_eq!(of("user", "password")["writeOnly"], true);
    let mtu = of("ppp_profile", "mtu");
    assert!(mtu["minimum"].is_u64() && mtu["maximum"].is_u64(), "{mtu}");
    assert!(mtu["description"].is_string() && mtu["writeOnly"].is_null());
}
