#![no_main]

#[path = "../targets/ingest.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::notification(data));
