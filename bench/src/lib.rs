//! Benchmarks, guards, load tools and comparisons.
//!
//! [`load`] makes traffic and swallows it; [`lab`] puts a gateway between the two and compares ways
//! through it; [`hello`] says what a client says first, [`proc`] what it all cost and [`stats`]
//! what a series of figures amounts to.

pub mod hello;
pub mod lab;
pub mod load;
pub mod proc;
pub mod stats;
