#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| strix_fuzz::targets::png(bytes));
