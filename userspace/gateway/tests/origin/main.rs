//! Origins with every kind of wrong certificate and wrong protocol, met over loopback; named d1 to
//! d14 after the kinds.

mod certificates;
mod deadlines;
mod hello;
mod hostile;
mod probes;
mod revocation;
mod sessions;

mod pki;
mod served;
