//! PPP without I/O: the RFC 1661 automaton, LCP, authentication, IPCP and IPv6CP.
