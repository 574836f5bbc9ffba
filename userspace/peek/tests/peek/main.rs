//! What the first bytes of a flow say, seen from outside the crate.

mod captures;
mod differential;
mod fingerprint;
mod fragmentation;
mod hello;
mod hostile;
mod pcap;
