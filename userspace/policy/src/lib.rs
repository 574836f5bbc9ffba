//! Facts and rules to a decision.
//!
//! A [`RuleSet`] is what an administrator wrote, typed and resolved; [`Policy::compile`] makes it
//! fit for deciding, and [`Policy::decide`] answers for one flow: the outcome, or what may still
//! come out and which [`Stage`] tells more. Nothing here reads a file, a clock or a socket: whatever
//! a decision may rest on is in [`Facts`], so that production, replay and explanation cannot
//! disagree.
//!
//! [`kernel`] compiles what is decided per packet into the tables of `sluice-abi`.
#![forbid(unsafe_code)]

pub mod compile;
pub mod decide;
pub mod facts;
pub mod host;
pub mod kernel;
pub mod lint;
mod matcher;
pub mod net;
pub mod outcome;
pub mod port;
pub mod rule;
pub mod stage;

pub use compile::{CompileError, Policy, RuleId};
pub use decide::{Cause, Decided, Decision, Undecided};
pub use facts::{Alpn, Facts, FirstBytes, Hello, Listener, NotNegotiated, Open};
pub use host::{HostError, HostPattern};
pub use net::{Net, NetError};
pub use outcome::{BlockKind, Outcome, Outcomes};
pub use port::{PortError, PortRange};
pub use rule::{Action, Condition, Defaults, Group, GroupId, Ja4Pattern, Rule, RuleBody, RuleSet};
pub use stage::{Fact, FactSet, Stage};
