//! What the guards count and the benches ask: hellos, rules and flows of fixed content, so that every
//! run does the same work.
//!
//! A package of its own, so that the guards, which run in continuous integration, are built without what
//! only measuring needs. `benches/icount.rs` counts instructions, `tests/allocations.rs` allocations.

pub mod hello;
pub mod rules;
pub mod work;
