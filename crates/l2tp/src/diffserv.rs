//! Differentiated services of control connections and sessions (RFC 3308): who opens one asks for a per-hop behavior, the other end grants
//! it or offers its own.

/// The code of the per-hop behavior (RFC 3140 section 2) that a DSCP of 0 to 63 stands for.
pub const fn per_hop_behavior(dscp: u8) -> u16 {
    ((dscp & 0x3f) as u16) << 10
}

/// The DSCP, 0 to 63, of a per-hop behavior or of a set of them; none for those that have numbers of their own (bit 15).
pub const fn dscp(per_hop_behavior: u16) -> Option<u8> {
    if per_hop_behavior & 1 == 0 {
        Some((per_hop_behavior >> 10) as u8)
    } else {
        None
    }
}

/// The DSCP to use after we asked for the one of `asked` and got `granted`: the peer's where that is another, ours where it does not say.
/// Nothing if we asked for none; an error if what we asked for is `required` and not granted.
pub(crate) fn agreed(
    asked: Option<u16>,
    granted: Option<u16>,
    required: bool,
) -> Result<Option<u8>, NotGranted> {
    let Some(asked) = asked else { return Ok(None) };
    if required && granted != Some(asked) {
        return Err(NotGranted);
    }
    Ok(granted.and_then(dscp).or(dscp(asked)))
}

/// The peer does not grant what is required.
pub(crate) struct NotGranted;
