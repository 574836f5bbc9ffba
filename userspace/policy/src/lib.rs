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

mod addresses;
mod certificate;
pub mod compile;
pub mod decide;
mod domains;
pub mod explain;
pub mod facts;
mod guard;
mod hang;
pub mod host;
mod index;
pub mod kernel;
pub mod lint;
pub mod list;
mod lookup;
mod matcher;
pub mod negotiation;
pub mod net;
pub mod normal;
pub mod outcome;
pub mod port;
pub mod rule;
mod running;
pub mod schedule;
pub mod stage;
pub mod text;
pub mod url;

pub use certificate::{CertificateState, CertificateStates};
pub use compile::{CompileError, Policy, RuleId, RuleInfo};
pub use decide::{Cause, Decided, Decision, Progress, Undecided};
pub use explain::{Annotations, Clause, Explained};
pub use facts::{Alpn, Connect, Facts, Inner, Listener, Request, TlsVersion, TlsVersions};
pub use host::{HostError, HostPattern};
pub use list::{DomainList, DomainListBuilder, LineError, List, ListData};
pub use lookup::Scratch;
pub use matcher::Truth;
pub use negotiation::{NotNegotiated, Tls};
pub use net::{Net, NetError};
pub use normal::{Authority, NormalError, Scheme};
pub use outcome::{BlockKind, Outcome, Outcomes};
pub use port::{PortError, PortRange};
pub use rule::{
    Action, AddressItem, Condition, DefaultAction, Defaults, Group, GroupId, HostItem, Ja4Pattern,
    ListId, ListenerPattern, Rule, RuleBody, RuleSet, ScheduleId, SizeRange, TlsStates, UrlItem,
    User,
};
pub use schedule::{Schedule, TimeRange, Weekdays};
pub use stage::{Fact, FactSet, Stage};
pub use text::{RegexError, TextPattern};
pub use url::{UrlEntry, UrlError, UrlParts};
