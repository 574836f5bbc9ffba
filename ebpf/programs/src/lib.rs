//! What the kernel programs decide, as pure functions over packet bytes and an environment.
//!
//! The same code runs in the kernel, where [`Bytes`] loads from a packet and [`Env`] reads maps,
//! and on the host, where both are plain memory: unit tests and the replay of frames too short
//! for the kernel's own test run use it there. It must not allocate, loop without bound, or
//! panic.
//!
//! ```text
//! frame ─▶ parse ─▶ Packet ─▶ ingress | egress ─▶ Judgement ─▶ (kernel) reply, steer, count
//!                                │      │
//!                              flows  judge ─▶ Env: maps
//! ```
#![cfg_attr(target_arch = "bpf", no_std)]
#![forbid(unsafe_code)]

pub mod bytes;
pub mod egress;
pub mod env;
pub mod flows;
pub mod fragments;
pub mod header;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod icmp;
pub mod ingress;
pub mod ip;
pub mod judge;
pub mod multipath;
pub mod parse;
pub mod quic;
pub mod reply;

pub use bytes::Bytes;
pub use env::{Env, FlowCell, Policy};
pub use judge::Judgement;
pub use parse::{Link, Packet};
