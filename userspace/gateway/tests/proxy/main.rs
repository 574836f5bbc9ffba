//! The explicit proxy, as its clients and origins see it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod addresses;
#[path = "../intercept/authority.rs"]
mod authority;
mod balancers;
#[expect(
    dead_code,
    reason = "some of it is for the tests of interception alone"
)]
#[path = "../intercept/client.rs"]
mod client;
#[expect(dead_code, reason = "some of it is for the tests of names alone")]
#[path = "../dns/mod.rs"]
mod dns;
mod eyeballs;
mod gateway;
mod guarded;
mod hostile;
mod identity;
mod itself;
#[expect(
    dead_code,
    unused_imports,
    reason = "some of it is for the tests of interception alone"
)]
#[path = "../intercept/lab.rs"]
mod lab;
#[expect(
    dead_code,
    reason = "some of it is for the tests of interception alone"
)]
#[path = "../intercept/part.rs"]
mod part;
#[expect(dead_code, reason = "some of it is for the tests of origins alone")]
#[path = "../origin/pki.rs"]
mod pki;
mod requests;
#[path = "../shared/schema.rs"]
mod schema;
mod tls;
mod tunnels;
