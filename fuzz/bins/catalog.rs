#![no_main]

#[path = "../targets/compactor.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::catalog(data));
