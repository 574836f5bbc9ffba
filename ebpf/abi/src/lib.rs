//! The wire between the kernel programs and the daemon: keys, verdicts, reasons, marks, events.
//!
//! Everything here has one layout on both sides. Every shared struct is `repr(C)`, has no hidden
//! padding (zerocopy's derives refuse it) and its size is asserted, because the kernel hashes
//! padding too. Addresses and ports are kept in network byte order as they stand in a packet, so
//! that neither side swaps them.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod event;
pub mod flow;
pub mod map;
pub mod mark;
pub mod reason;
pub mod table;
pub mod verdict;

pub use event::{CounterCell, Event, Hook};
pub use flow::{Addr, FlowEntry, FlowKey};
pub use mark::Marks;
pub use reason::Reason;
pub use table::{Entry, PolicyCell};
pub use verdict::Verdict;

/// Version of everything in this crate that pinned maps hold.
///
/// Raised with every change of a key, a value, an encoding or a map's size. The loader refuses to
/// adopt pins of another version.
pub const ABI_VERSION: u32 = 1;
