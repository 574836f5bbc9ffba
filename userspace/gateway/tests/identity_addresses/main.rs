//! Who has which address: remembered, told over the admin socket, believed by flows, shown.
#![cfg(test)]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod api;
mod commands;
mod flows;
mod lab;
mod table;
mod tickets;
