#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| fuzzing::run("l2tp_avps", octets));
