//! The origin's side of interception and of certificate probes.
//!
//! [`Origins`] makes handshakes with origins and judges their certificates; [`Probes`] makes such
//! handshakes for nothing but their [`Report`], and remembers it. Both speak with a ClientHello of
//! sluice's own: what the client offered is never passed on as if it were ours (RFC 8446
//! section 9.3). It offers what rustls offers by default, so that the leg to the origin is no weaker
//! than the one to the client; but of the versions none that the client does not offer.
//!
//! A certificate that is not valid does not fail a handshake. It is reported with everything that is
//! wrong with it, and it is for the policy to say what becomes of the flow. Nothing in this module
//! sends a byte of an application.

mod algorithms;
mod connect;
mod counted;
mod der;
mod failure;
mod faults;
mod judge;
mod ocsp;
mod probes;
mod rate;
mod report;
mod settings;
mod trust;
mod verified;
mod verifier;
mod view;

pub use connect::{Client, Connected, Offer, Origins, Target, provider};
pub use counted::Counted;
pub use failure::{Cause, HandshakeFailure, Phase};
pub use faults::{Fault, Faults};
pub use probes::{
    Connector, HelloClass, Outcome, ProbeCounts, ProbeError, ProbeKey, ProbeLimits, Probes,
    Probing, Unavailable,
};
pub use rate::Rate;
pub use report::{Certificate, Leaf, Negotiated, Report, Revocation};
pub use settings::{ClientCertificate, RevocationMode, Settings, SettingsError, Unknown};
pub use view::KeyKind;
