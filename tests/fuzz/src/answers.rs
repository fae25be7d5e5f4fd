//! `tests::fuzz::answers`, with bytes that libFuzzer finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::answers(input));
