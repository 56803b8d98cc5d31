//! The keepalive: LCP Echo-Requests of ours and what their replies tell (RFC 1661 section 5.8).

use std::time::Duration;

use sansio::Time;
use serde::{Deserialize, Serialize};
use wire::ppp::{Echo, Packet, Protocol, iana::code};

use crate::Cause;
use crate::io::{Context, Timer};

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Keepalive {
    /// Of the last request.
    identifier: u8,
    /// The last request has no reply yet.
    waiting: bool,
    /// Requests in a row without a reply.
    pub(crate) failures: u32,
    /// When the last request went out.
    sent: Time,
    /// Of the last request that had its own reply.
    pub(crate) round_trip: Option<Duration>,
}

impl Keepalive {
    /// LCP is open: begins anew.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        *self = Self {
            identifier: self.identifier,
            ..Self::default()
        };
        Self::set_timer(cx);
    }

    /// An interval of nothing is no interval.
    fn set_timer(cx: &mut Context<'_>) {
        if let Some(interval) = cx.config.echo_interval.filter(|i| !i.is_zero()) {
            cx.io.deadlines.set(Timer::Echo, cx.now + interval);
        }
    }

    /// [`Timer::Echo`] fired.
    ///
    /// # Errors
    ///
    /// [`Cause::EchoTimeout`] when the peer is taken for gone.
    pub(crate) fn timeout(&mut self, magic: u32, cx: &mut Context<'_>) -> Result<(), Cause> {
        self.failures = self.failures.saturating_add(self.waiting.into());
        if cx.config.echo_failures > 0 && self.failures >= cx.config.echo_failures {
            return Err(Cause::EchoTimeout(self.failures));
        }
        self.identifier = self.identifier.wrapping_add(1);
        self.waiting = true;
        self.sent = cx.now;
        let echo = Echo {
            magic_number: magic,
            data: &[],
        };
        cx.io.send(Protocol::LCP, |w| {
            Packet::encode_with(code::ECHO_REQUEST, self.identifier, w, |w| echo.encode(w))
        });
        Self::set_timer(cx);
        Ok(())
    }

    /// An Echo-Reply of the peer's. A late one, to an earlier request, shows life but no round trip.
    pub(crate) fn reply(&mut self, identifier: u8, now: Time) {
        self.failures = 0;
        if std::mem::take(&mut self.waiting) && identifier == self.identifier {
            self.round_trip = Some(now - self.sent);
        }
    }
}
