//! What the kernel programs cost a packet, by `BPF_PROG_TEST_RUN`.
//!
//! Every figure is a difference to a program that does nothing, run in turn with it: the test run
//! itself, the timer and the call into a program are in both.

pub mod cases;
pub mod empty;
pub mod frame;
pub mod measure;
