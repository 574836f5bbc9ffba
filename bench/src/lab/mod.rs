//! The comparison of ways through a gateway.
//!
//! Every way has a client, a gateway and an origin of its own, in network namespaces joined by
//! virtual links; all stand at once and one is used at a time. A round measures every case on every
//! way, one right after the other, so that what drifts on the machine drifts for all; ratios are
//! taken within a round. A round whose figures cannot be trusted is void, says why, and is repeated
//! a bounded number of times.

pub mod live;
pub mod net;
pub mod plan;
pub mod report;
pub mod run;
pub mod way;
