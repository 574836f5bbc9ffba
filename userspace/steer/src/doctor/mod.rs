//! Looks for what would keep sluice from working on this machine, and names the cure.
//!
//! [`Snapshot::collect`] reads the machine and changes nothing; [`examine()`] is a pure function of
//! the snapshot.

mod environment;
mod examine;
mod firewall;
mod known;
mod snapshot;

pub use environment::{Environment, Manager};
pub use examine::examine;
pub use firewall::{ChainFate, Fate, Firewall, SteeredPacket};
pub use snapshot::{DeviceFacts, DoctorOptions, Snapshot};

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Works, but not as it should, or not for everybody.
    Warning,
    /// sluice does not start, or flows do not get through.
    Problem,
}

impl Severity {
    /// The word that is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A short name that stays the same between versions.
    pub check: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// A command or an edit that puts it right.
    pub cure: String,
}
