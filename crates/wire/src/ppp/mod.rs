//! PPP (RFC 1661 and the protocols it carries).
