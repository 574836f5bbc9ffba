//! Load: flows that begin as a TLS client's do, and the sink that answers them.
//!
//! Every flow begins with a whole ClientHello, since a gateway looks at one, and a byte that tells
//! the sink what is wanted. Everything after it is noise. All sockets use reno: bbr, the default on
//! many machines, paces a virtual link to half of what it carries.

pub mod bulk;
pub mod command;
pub mod idle;
pub mod result;
pub mod route;
pub mod short;
pub mod sink;
pub mod socket;
pub mod tls;
pub mod wire;
