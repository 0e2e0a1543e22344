#![no_main]

#[path = "../targets/rules.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::website(data));
