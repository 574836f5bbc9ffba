//! What clients may do to the reading of their first bytes, against the flow code that serves them.
//!
//! Origins are on loopback and nothing is steered: a flow's original destination is told to it.
#![cfg(test)]

mod bytes;
mod judged;
mod lab;
#[path = "../shared/schema.rs"]
mod schema;
mod spliced;
