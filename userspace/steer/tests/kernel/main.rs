//! The kernel side against a real kernel: every test has a network namespace and a BPF filesystem
//! of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends with a backtrace"
)]

mod bench;
mod devices;
mod lifecycle;
mod maps;
mod routes;
mod steer;
mod support;
