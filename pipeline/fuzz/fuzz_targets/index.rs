#![no_main]
#![allow(missing_docs, reason = "the target's module says what it does")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| samovar_fuzz::index::run(data));
