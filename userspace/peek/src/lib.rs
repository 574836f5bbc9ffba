//! First bytes to facts: TLS, QUIC, HTTP and foreign protocols; sans-IO.
//!
//! A flow's first bytes go in, what they say comes out: a [`Hello`], or [`NotTls`] with the way in
//! which the flow is not TLS. Nothing here reads a socket or a clock, and nothing changes the
//! bytes: the caller keeps all that the client sent and hands it on as it came.
//!
//! [`HelloReader`] is fed the accumulated bytes after every read and remembers how far it came.
//! It answers as soon as the bytes seen decide, and its answer does not depend on how the stream
//! was cut into segments. A hello in one record is parsed where it lies without allocating; one
//! that spans records is gathered in a buffer that grows with what arrived, never with what was
//! announced.
//!
//! [`FirstReader`] does the same for first bytes of whatever kind: it answers once they also tell
//! whether they are those of an application that [`foreign`] knows.
//!
//! Where a hello went on untouched, [`ServerHelloReader`] reads the origin's answer in the same
//! way, judged by the [`Offer`] in the client's bytes: what was [`Chosen`], or [`NoAgreement`] with
//! the way in which there is none. Whoever relays a hello without understanding all of it must not
//! stand in the way of what is new (RFC 9846 section 9.3), so only what no version of TLS allows
//! is held against an origin; an extension, cipher suite or version that is not known here is fine
//! where the client asked for it.
//!
//! Where the origin asks for a second hello, [`SecondHelloReader`] reads that one.
//!
//! What is malformed in a hello is never guessed at: a name that has no single canonical form, a
//! repeated extension or a wrong length makes the whole hello [`NotTls::Malformed`], since a
//! gateway and an origin that read the same bytes differently are a way around every rule.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod alpn;
mod answer;
mod client_hello;
mod codes;
mod cursor;
mod extension;
mod fingerprint;
mod first;
pub mod foreign;
mod host;
pub mod http;
mod no_agreement;
mod not_tls;
mod offer;
pub mod quic;
mod reader;
mod record;
mod second;
mod server_hello;
mod version;

pub use alpn::{Alpn, AlpnIter};
pub use answer::{Answer, ServerHelloReader};
pub use client_hello::Hello;
pub use fingerprint::Ja4;
pub use host::{HostName, HostNameError};
pub use no_agreement::NoAgreement;
pub use not_tls::NotTls;
pub use offer::Offer;
pub use reader::FirstReader;
pub use record::{End, HelloReader, Peek};
pub use second::SecondHelloReader;
pub use server_hello::Chosen;
pub use version::{Version, Versions};

/// The limit on a hello that a gateway uses where nothing else is configured, in bytes.
pub const HELLO_LIMIT: usize = 64 * 1024;

/// Whether a code point is one of those that clients send to keep peers tolerant
/// (RFC 8701 section 2): two equal bytes whose low half is `a`.
#[must_use]
pub const fn is_grease(code: u16) -> bool {
    code & 0x0f0f == 0x0a0a && code >> 8 == code & 0xff
}
