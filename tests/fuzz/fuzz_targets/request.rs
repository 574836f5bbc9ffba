//! Any bytes as the head of a request: no panic, and what is let through is forwarded as it is judged.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/gateway/tests/request/check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
