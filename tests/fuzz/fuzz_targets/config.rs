//! Any text as a configuration: no panic, every mistake has its place, and what is valid can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/gateway/tests/config_noise/check.rs"]
mod check;

fuzz_target!(|text: &str| check::check(text));
