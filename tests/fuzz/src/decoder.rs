//! `tests::fuzz::decoder`, with bytes that libFuzzer finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::decoder(input));
