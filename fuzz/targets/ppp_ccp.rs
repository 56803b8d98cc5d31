#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| fuzzing::run("ppp_ccp", octets));
