//! Benchmarks, load tools and comparisons.
//!
//! [`load`] makes traffic and swallows it; [`lab`] puts a gateway between the two and compares ways
//! through it; [`bpf`] runs the kernel programs over packets; [`proc`] says what it all cost and
//! [`stats`] what a series of figures amounts to. What clients say and what rules are asked is the
//! guard's, in `sluice-guard`.

pub mod bpf;
pub mod lab;
pub mod load;
pub mod proc;
pub mod stats;
