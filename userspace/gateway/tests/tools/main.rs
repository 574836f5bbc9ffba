//! The tools of an operator: status, top, flows, support, log levels, completions and the manual.
#![cfg(test)]

mod lab;
mod levels;
mod manual;
mod status;
