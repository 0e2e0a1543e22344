#![no_main]

#[path = "../targets/s3.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::sigv2(data));
