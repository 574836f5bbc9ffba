//! The programs on the devices of a gateway, met by frames of any content.
//!
//! What a test run of the programs cannot express is here: frames that end within a header, tags
//! that the device took off, headers outside the linear part of a buffer, joined segments,
//! checksums that wait for a device, devices without a link header, and the assignment to sockets.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a backtrace"
)]

mod checksums;
mod gate;
mod large;
mod link;
mod outside;
mod socket;
mod stream;
#[path = "../packet/world.rs"]
mod world;
