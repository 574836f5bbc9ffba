//! The real daemon on the gateway of a lab, met from outside: by clients, origins and the shell.
//!
//! Each test has a lab of its own, so that none sees what another left.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot go on ends its test, with a backtrace"
)]

mod browser;
mod certificates;
mod clients;
mod craft;
mod devices;
#[expect(dead_code, reason = "some of it is for the tests of names alone")]
#[path = "../../../userspace/gateway/tests/dns/mod.rs"]
mod dns;
mod doctor;
mod driver;
mod ends;
mod exchange;
mod gate;
mod grade;
mod grid;
mod handover;
mod hellos;
mod identity;
mod inspected;
mod intercept;
mod leaks;
mod observe;
mod ordinary;
mod page;
mod prometheus;
mod proxy;
mod proxy_browser;
mod proxy_clients;
mod proxy_site;
mod raw;
mod recipe;
mod records;
mod refusals;
mod reload;
mod secrets;
#[expect(
    dead_code,
    reason = "of all that it can do, tun devices are wanted here"
)]
#[path = "../wire/socket.rs"]
mod socket;
mod steering;
mod support;
mod tap;
mod tools;
mod web;
