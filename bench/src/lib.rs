//! Benchmarks, guards, load tools and comparisons.
//!
//! [`load`] makes traffic and swallows it; [`lab`] puts a gateway between the two and compares ways
//! through it; [`bpf`] runs the kernel
//! programs over packets; [`hello`] says what a client says first, [`proc`] what it all cost and [`stats`]
//! what a series of figures amounts to.

pub mod bpf;
pub mod hello;
pub mod icount;
pub mod lab;
pub mod load;
pub mod proc;
pub mod rules;
pub mod stats;
