//! Any bytes as an origin's answer, in any segments: no panic, and the same answer as for the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/peek/tests/check/answer.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
