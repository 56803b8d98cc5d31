//! The network phase: IPCP and IPv6CP, each of which may be there or not.

use sansio::{Rng, Time};
use serde::{Deserialize, Serialize};
use wire::ppp::iana::code;
use wire::ppp::{Packet, Protocol};

use super::{Link, Phase, context};
use crate::automaton::{Event as Happening, State};
use crate::io::Context;
use crate::ipcp::Ipcp;
use crate::ipv6cp::Ipv6cp;
use crate::layer::{Layer, Options, Signal};
use crate::{Cause, Event, NetworkCause, NetworkConfig};

/// A network layer's control protocol, and whether its packets may flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Network<P> {
    pub(super) layer: Layer<P>,
    state: NetworkState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum NetworkState {
    /// Not there, until the peer begins anew.
    Down(NetworkCause),
    /// Being negotiated.
    Opening,
    /// The engine was told that packets may flow.
    Up,
}

/// What the link must know of a network control protocol.
pub(super) trait NetworkOptions: Options {
    /// Tells that its packets may not flow any more.
    const DOWN: Event;

    /// Tells what was agreed on; `None` when that is not enough for packets to flow.
    fn up(&self) -> Option<Event>;
}

impl NetworkOptions for Ipcp {
    const DOWN: Event = Event::Ipv4Down;

    fn up(&self) -> Option<Event> {
        Some(Event::Ipv4Up {
            local: self.local()?,
            peer: self.peer(),
            dns: self.dns(),
        })
    }
}

impl NetworkOptions for Ipv6cp {
    const DOWN: Event = Event::Ipv6Down;

    fn up(&self) -> Option<Event> {
        let (local_id, peer_id) = (self.id, self.peer()?);
        Some(Event::Ipv6Up { local_id, peer_id })
    }
}

impl<P: NetworkOptions> Network<P> {
    pub(super) fn new(layer: Layer<P>) -> Self {
        Self {
            layer,
            state: NetworkState::Down(NetworkCause::NotConfigured),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == NetworkState::Up
    }

    pub(super) fn is_configured(&self) -> bool {
        self.state != NetworkState::Down(NetworkCause::NotConfigured)
    }

    /// Why it is down for good, if it is.
    fn down(&self) -> Option<NetworkCause> {
        match self.state {
            NetworkState::Down(cause) => Some(cause),
            NetworkState::Opening | NetworkState::Up => None,
        }
    }

    fn open(&mut self, cx: &mut Context<'_>) {
        self.state = NetworkState::Opening;
        self.layer.event(Happening::Open, cx);
        self.layer.event(Happening::Up, cx);
    }

    /// Goes down without a word to the peer.
    fn shut(&mut self, cause: NetworkCause, cx: &mut Context<'_>) {
        self.leave(NetworkState::Down(cause), cx);
        self.layer.event(Happening::Down, cx);
        self.layer.event(Happening::Close, cx);
    }

    /// Gives up on an agreement.
    fn fail(&mut self, cx: &mut Context<'_>) {
        self.leave(NetworkState::Down(NetworkCause::NotConverged), cx);
        self.layer.event(Happening::Close, cx);
    }

    fn packet(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) {
        let signal = self.layer.packet(packet, cx);
        self.signal(signal, cx);
        match (packet.code, self.layer.state()) {
            (code::TERMINATE_REQUEST, State::Stopping) => {
                self.state = NetworkState::Down(NetworkCause::Terminated);
            }
            (code::CODE_REJECT, State::Stopping | State::Stopped) => {
                self.state = NetworkState::Down(NetworkCause::Rejected);
            }
            _ => {}
        }
    }

    fn timeout(&mut self, cx: &mut Context<'_>) {
        let signal = self.layer.timeout(cx);
        self.signal(signal, cx);
    }

    fn signal(&mut self, signal: Option<Signal>, cx: &mut Context<'_>) {
        match signal {
            None => {}
            Some(Signal::Up) => match self.layer.options.up() {
                Some(event) => {
                    self.state = NetworkState::Up;
                    cx.io.events.push_back(event);
                }
                None => self.fail(cx),
            },
            Some(Signal::Down) => self.leave(NetworkState::Opening, cx),
            Some(Signal::Finished) => {
                let cause = self.down().unwrap_or(NetworkCause::Timeout);
                self.leave(NetworkState::Down(cause), cx);
            }
            Some(Signal::Stuck) => self.fail(cx),
        }
    }

    /// Goes to another state than `Up`.
    fn leave(&mut self, state: NetworkState, cx: &mut Context<'_>) {
        if self.is_up() {
            cx.io.events.push_back(P::DOWN);
        }
        self.state = state;
    }
}

impl Link {
    /// The answer to [`Event::NetworkWanted`]: opens what `network` holds.
    pub fn configure_network(&mut self, network: NetworkConfig, now: Time, rng: &mut dyn Rng) {
        if self.phase != Phase::Network || self.configured {
            return;
        }
        self.configured = true;
        self.open_encryption(network, now, rng);
    }

    pub(super) fn open_networks(&mut self, network: NetworkConfig, now: Time, rng: &mut dyn Rng) {
        if let Some(config) = network.ipv4 {
            self.ipv4.layer.options.config = config;
            self.ipv4.open(context!(self, now, rng));
        }
        if let Some(config) = network.ipv6 {
            self.ipv6.layer.options.config = config;
            self.ipv6.open(context!(self, now, rng));
        }
        self.take_early(Protocol::IPCP, now, rng);
        self.take_early(Protocol::IPV6CP, now, rng);
        self.check_networks(now, rng);
    }

    pub(super) fn ipcp_packet(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        self.ipv4.packet(packet, context!(self, now, rng));
        self.check_networks(now, rng);
    }

    pub(super) fn ipv6cp_packet(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        self.ipv6.packet(packet, context!(self, now, rng));
        self.check_networks(now, rng);
    }

    pub(super) fn ipcp_timeout(&mut self, now: Time, rng: &mut dyn Rng) {
        self.ipv4.timeout(context!(self, now, rng));
        self.check_networks(now, rng);
    }

    pub(super) fn ipv6cp_timeout(&mut self, now: Time, rng: &mut dyn Rng) {
        self.ipv6.timeout(context!(self, now, rng));
        self.check_networks(now, rng);
    }

    pub(super) fn ipcp_rejected(&mut self, now: Time, rng: &mut dyn Rng) {
        if self.ipv4.is_configured() {
            self.ipv4
                .shut(NetworkCause::Rejected, context!(self, now, rng));
            self.check_networks(now, rng);
        }
    }

    pub(super) fn ipv6cp_rejected(&mut self, now: Time, rng: &mut dyn Rng) {
        if self.ipv6.is_configured() {
            self.ipv6
                .shut(NetworkCause::Rejected, context!(self, now, rng));
            self.check_networks(now, rng);
        }
    }

    /// LCP went down, and the network layers with it.
    pub(super) fn network_down(&mut self, now: Time, rng: &mut dyn Rng) {
        self.configured = false;
        self.ipv4
            .shut(NetworkCause::NotConfigured, context!(self, now, rng));
        self.ipv6
            .shut(NetworkCause::NotConfigured, context!(self, now, rng));
        self.encryption_down(now, rng);
    }

    /// Ends a link that has no network layer left to wait for.
    fn check_networks(&mut self, now: Time, rng: &mut dyn Rng) {
        let pending = self.encryption.as_ref().is_some_and(|e| e.is_pending());
        if self.phase != Phase::Network || !self.configured || pending {
            return;
        }
        if let (Some(v4), Some(v6)) = (self.ipv4.down(), self.ipv6.down()) {
            let cause = if self.ipv4.is_configured() { v4 } else { v6 };
            self.close(Cause::NoNetwork(cause), now, rng);
        }
    }
}
