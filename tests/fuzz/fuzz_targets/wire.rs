//! Any bytes as a connection of HTTP/1: no panic, and the same comes out however they come.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/gateway/tests/request/wire_check.rs"]
mod wire_check;

fuzz_target!(|bytes: &[u8]| wire_check::check(bytes));
