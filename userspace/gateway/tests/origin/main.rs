//! Origins with every kind of wrong certificate and wrong protocol, met over loopback; named d1 to
//! d14 after the kinds.
#![cfg(test)]

mod certificates;
mod deadlines;
mod hello;
mod hostile;
mod names;
mod probes;
mod repeated;
mod revocation;
mod sessions;

mod pki;
mod served;
