//! The tools of an operator: status, top, flows, support, log levels, completions and the manual.
#![cfg(test)]

mod flows;
mod lab;
mod levels;
mod manual;
#[path = "../shared/schema.rs"]
mod schema;
mod status;
mod support;
mod top;
