//! Moves bytes between two sockets in the kernel.
//!
//! [`relay()`] carries a decided flow: the client's first bytes as they were read, then everything
//! else in both directions, byte for byte. A flow begins with copies, which cost a short one no
//! set-up; from then on its bytes stay in the kernel and pass through a pipe by splice(2). Pipes
//! come from a [`PipePool`] and are lent only while bytes move, so an idle flow holds two sockets
//! and nothing else.
//!
//! [`listen()`] and [`dial()`] make the two sockets of a flow.
#![forbid(unsafe_code)]

mod dial;
mod direction;
mod listen;
mod pool;
mod relay;

pub use dial::{DialError, DialOptions, abort, dial};
pub use direction::try_receive;
pub use listen::{ListenOptions, bind, listen, original_destination};
pub use pool::{Counters, PipePool, PoolOptions};
pub use relay::{End, Options, Outcome, Progress, Read, relay, relay_on};
