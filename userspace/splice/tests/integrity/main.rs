//! The relay against real sockets: what goes in comes out, and nothing stays behind.
#![cfg(test)]

mod endings;
mod limits;
mod sockets;
mod support;
mod transfers;
