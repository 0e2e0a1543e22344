#![no_main]

#[path = "../targets/forms.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::form(data));
