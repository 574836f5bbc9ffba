//! Any bytes at the beginning of a connection from a balancer: no panic, and one meaning however they
//! come.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../userspace/gateway/tests/proxy_protocol/check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
