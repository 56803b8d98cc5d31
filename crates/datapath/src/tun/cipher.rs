//! A session's encryption: MPPE frames (RFC 3078) around the cipher.

use crypto::mppe::{Decryptor, Encryptor, Lost, Sealed};
use wire::ppp::iana::code;
use wire::ppp::{Frame, MppeHeader, Protocol};
use wire::{BufferFull, Writer};

use super::packet::{IpHeader, Layer};
use crate::Encryption;

/// Both directions of a session that is encrypted.
#[derive(Debug)]
pub(super) struct Cipher {
    of: Encryption,
    outward: Encryptor,
    inward: Decryptor,
    /// Room for what is decrypted.
    packet: Vec<u8>,
}

impl Cipher {
    /// The encryption that is wanted from now on: the one there is, where it is of the same keys.
    pub(super) fn renew(this: Option<Box<Self>>, wanted: Option<&Encryption>) -> Option<Box<Self>> {
        let wanted = wanted?;
        let mode = wanted.mode?;
        if let Some(same) = this.filter(|this| this.of == *wanted) {
            return Some(same);
        }
        Some(Box::new(Self {
            of: wanted.clone(),
            outward: Encryptor::new(wanted.keys.send.clone(), mode),
            inward: Decryptor::new(wanted.keys.receive.clone(), mode),
            packet: Vec::new(),
        }))
    }

    /// Encrypts the packet that `octets` ends with and that has [`MPPE_OVERHEAD`](crate::message::MPPE_OVERHEAD) octets of room before it.
    pub(super) fn seal(&mut self, layer: Layer, octets: &mut [u8]) -> Result<(), BufferFull> {
        let (header, inside) = octets
            .split_at_mut_checked(MppeHeader::LENGTH)
            .ok_or(BufferFull)?;
        let mut protocol = Writer::new(inside);
        protocol.u16(layer.protocol().0)?;
        let Sealed { flushed, count } = self.outward.seal(inside);
        MppeHeader {
            flushed,
            encrypted: true,
            count,
        }
        .encode(&mut Writer::new(header))
    }

    /// Decrypts the payload of a frame, and gives the packet in it to `take`.
    pub(super) fn open<T>(
        &mut self,
        payload: &[u8],
        take: impl FnOnce(Layer, &[u8]) -> T,
    ) -> Result<T, Lost> {
        let (header, octets) = MppeHeader::decode(payload).map_err(|_| Lost::Packet)?;
        let MppeHeader { flushed, count, .. } = header;
        if !header.encrypted {
            return Err(Lost::Packet);
        }
        let sealed = Sealed { flushed, count };
        let known = |octets: &[u8]| inside(octets).is_some();
        self.inward.open(sealed, octets, &mut self.packet, known)?;
        let (layer, packet) = inside(&self.packet).ok_or(Lost::Packet)?;
        Ok(take(layer, packet))
    }

    /// Begins anew after a frame of the control plane that says so: CCP's Reset-Ack.
    pub(super) fn look_at(&mut self, frame: &[u8]) {
        let resets = Frame::decode(frame).is_ok_and(|frame| {
            frame.protocol == Protocol::CCP && frame.payload.first() == Some(&code::RESET_ACK)
        });
        if resets {
            self.outward.flush();
        }
    }
}

/// The IP packet that was encrypted with its protocol field.
fn inside(octets: &[u8]) -> Option<(Layer, &[u8])> {
    let frame = Frame::decode(octets).ok()?;
    let layer = Layer::of(frame.protocol)?;
    let header = IpHeader::decode(frame.payload).ok()?;
    (header.layer == layer).then_some((layer, frame.payload))
}
