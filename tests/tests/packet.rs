//! What the kernel programs decide, packet by packet.
//!
//! Each test is there twice: `host::` judges by the programs' code in plain memory, `kernel::` (as
//! root) by that and by the programs in the kernel, which must agree in verdict, reason and
//! counters. Names that begin with a letter and a number are those of the list of hostile inputs
//! that the project keeps itself against.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a backtrace"
)]

mod packet {
    pub(crate) mod bench;
    pub(crate) mod world;

    mod addresses;
    mod answers;
    mod flows;
    mod fragments;
    mod headers;
    mod icmp;
    mod limits;
    mod parity;
    mod policy;
    mod protocols;
    mod random;
    mod segments;
}

use packet::{bench, world};
