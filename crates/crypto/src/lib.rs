//! Challenge responses, AVP hiding, CHAP and MS-CHAPv2, and secrets that wipe themselves.
