//! Any bytes, in any segments and records: no panic, and the same answer as for the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/peek/tests/check/mod.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
