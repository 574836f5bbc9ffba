//! The network-namespace lab and the end-to-end tests.
//!
//! [`packet`] and [`pcap`] make bytes and need nothing.
//!
//! What is here serves tests: where a machine cannot do what a test needs, it panics and says what
//! was missing.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test helper that cannot go on ends its test, with a backtrace"
)]

pub mod packet;
pub mod pcap;
