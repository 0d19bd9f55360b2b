#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fsmasq::fuzzing::code::site(input));
