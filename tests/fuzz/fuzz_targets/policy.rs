//! Any rules and any flows: they compile or are refused, and every way of deciding says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/policy/tests/check/mod.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
