//! Who a client is, by the credentials that it shows: files, a real directory, and who asks them.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod authenticate;
mod basic;
mod directory;
mod files;
mod lab;
mod slapd;
