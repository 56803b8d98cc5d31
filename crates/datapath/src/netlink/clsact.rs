//! The queueing discipline `clsact`, without which devices take no programs before Linux 6.6.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rustix::io::Errno;

use super::{Netlink, gone, is};
use crate::DatapathError;

impl Netlink {
    /// Adds it to a device: whether it was not there.
    pub(crate) fn add_clsact(&self, device: u32) -> Result<bool, DatapathError> {
        let message = RouteNetlinkMessage::NewQueueDiscipline(clsact(device));
        match self.request(message, NLM_F_CREATE | NLM_F_EXCL) {
            Ok(_) => Ok(true),
            Err(error) if is(&error, Errno::EXIST) => Ok(false),
            Err(error) => {
                let what = format!("add clsact to device {device}");
                Err(DatapathError::system(what, &error))
            }
        }
    }

    /// Removes it from a device, if nobody has anything attached to it.
    pub(crate) fn remove_unused_clsact(&self, device: u32) -> Result<(), DatapathError> {
        let removed = self
            .has_filters(device, |_| true)
            .and_then(|used| match used {
                true => Ok(()),
                false => {
                    let message = RouteNetlinkMessage::DelQueueDiscipline(clsact(device));
                    gone(self.request(message, 0))
                }
            });
        let what = || format!("remove clsact from device {device}");
        removed.map_err(|error| DatapathError::system(what(), &error))
    }

    /// Whether something is attached to it with such a priority.
    pub(crate) fn has_filters(&self, device: u32, such: impl Fn(u16) -> bool) -> io::Result<bool> {
        for minor in [TcHandle::MIN_INGRESS, TcHandle::MIN_EGRESS] {
            let mut message = TcMessage::with_index(device.cast_signed());
            message.header.parent = TcHandle {
                minor,
                ..TcHandle::CLSACT
            };
            let message = RouteNetlinkMessage::GetTrafficFilter(message);
            let there = |answer: &RouteNetlinkMessage| match answer {
                // The protocol is below the priority.
                RouteNetlinkMessage::NewTrafficFilter(filter) => {
                    such((filter.header.info >> 16) as u16)
                }
                _ => false,
            };
            if self.request(message, NLM_F_DUMP)?.iter().any(there) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn clsact(device: u32) -> TcMessage {
    let mut message = TcMessage::with_index(device.cast_signed());
    message.header.handle = TcHandle {
        minor: 0,
        ..TcHandle::CLSACT
    };
    message.header.parent = TcHandle::CLSACT;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    message
}
