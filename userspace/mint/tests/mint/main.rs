//! Authorities and leaves as the outside sees them. Tests of the list of hostile inputs bear its
//! numbers, e2 to e9.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod authority;
mod cache;
mod dates;
mod export;
mod help;
mod invalid;
mod profile;
mod rotation;
mod secrecy;
