//! What the first bytes of a flow say, seen from outside the crate.

// The attribute tells clippy that helpers belong to tests, too.
#[cfg(test)]
mod answer;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod fingerprint;
#[cfg(test)]
mod fragmentation;
#[cfg(test)]
mod hello;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod negotiation;
mod offer;
#[cfg(test)]
mod pcap;
#[cfg(test)]
mod second;
