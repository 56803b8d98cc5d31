//! What is said of pools that take more than they should.

use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use datapath::Request;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::LNS;
use super::bed::{Bed, End};

/// Passes on what warnings say.
struct Warnings(Sender<String>);

struct Message<'a>(&'a Sender<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = self.0.send(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&self.0));
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_pool_that_covers_a_gateway_is_told_and_no_other_is() {
    let Some(bed) = Bed::new() else { return };
    let (sender, said) = channel();
    tracing::subscriber::set_global_default(Warnings(sender)).unwrap();
    bed.lns.run("ip route add default via 10.9.0.254");
    bed.lns.run("ip -6 route add default via fd09::254");
    let mut lns = End::start(&bed.lns, LNS);
    // The network itself is closer than a pool that is larger, or as large.
    let mut reserve = |nets: &[&str]| {
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        lns.submit(Request::Reserve { nets });
    };
    reserve(&["10.9.0.0/24", "10.8.0.0/15", "10.9.0.0/26"]);
    reserve(&["10.9.0.0/24", "10.9.0.128/25", "fd09::200/120"]);
    let heard = [(); 2].map(|()| said.recv_timeout(Duration::from_secs(5)).unwrap());
    for (text, [pool, gateway]) in heard.iter().zip([
        ["10.9.0.128/25", "10.9.0.254"],
        ["fd09::200/120", "fd09::254"],
    ]) {
        let whole = text.contains(pool) && text.contains(gateway) && text.contains("wire");
        assert!(whole, "{text}");
    }
}
