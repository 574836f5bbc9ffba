//! The network-namespace lab and the end-to-end tests.
//!
//! [`lab::Lab`] builds clients, a gateway and an internet; [`sluice::Sluice`] is the daemon under test;
//! [`dial`] is what a client meets, [`peer`] who answers it, [`hello`] and [`skype`] what it says.
//! [`proxied`] is what it meets at a proxy, [`recipe`] what the daemon is told by default.
//! [`packet`] and [`pcap`] make bytes and need nothing.
//!
//! What is here serves tests: where a machine cannot do what a test needs, it panics and says what
//! was missing.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test helper that cannot go on ends its test, with a backtrace"
)]

pub mod dial;
pub mod family;
pub mod hello;
pub mod http;
pub mod janitor;
pub mod lab;
pub mod metrics;
pub mod netns;
pub mod packet;
pub mod pcap;
pub mod peer;
pub mod pki;
pub mod proxied;
pub mod recipe;
pub mod skype;
pub mod sluice;
