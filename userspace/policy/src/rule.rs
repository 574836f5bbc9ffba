//! Rules as an administrator writes them: typed, resolved, and not yet compiled.

use crate::{
    facts::{Listener, NotNegotiated},
    host::HostPattern,
    net::Net,
    outcome::BlockKind,
    port::PortRange,
    stage::Fact,
};

/// Everything that decides what becomes of a flow that reaches the daemon.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// What decides where no rule does.
    pub defaults: Defaults,
    /// The groups; a [`GroupId`] is an index into them.
    pub groups: Vec<Group>,
    /// The rules, in the order of evaluation.
    pub rules: Vec<Rule>,
}

/// What decides where no rule does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// For flows that are TLS and name a server.
    pub identified: Action,
    /// For every other flow.
    pub unidentified: Action,
}

/// Index of a group in [`RuleSet::groups`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct GroupId(pub usize);

/// Clients that rules speak of by one name.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Addresses of members.
    pub nets: Vec<Net>,
    /// Groups whose members are members of this one too.
    pub groups: Vec<GroupId>,
}

/// One rule, or a container of rules.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name.
    pub name: String,
    /// Conditions that must all hold; none: the rule always holds.
    pub when: Vec<Condition>,
    /// Exceptions; any that holds keeps the rule from holding.
    pub unless: Vec<Condition>,
    /// What the rule does.
    pub body: RuleBody,
}

/// What a rule does where it holds.
#[derive(Clone, Debug)]
pub enum RuleBody {
    /// Carries out an action.
    Act {
        /// The action.
        action: Action,
        /// Whether the walk ends here; otherwise a later rule may override.
        last: bool,
        /// What a block page says.
        message: Option<String>,
    },
    /// Lets the rules inside be walked; its conditions belong to each of them.
    Contain(Vec<Rule>),
}

/// What to do with a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Let it through at the least depth.
    Allow,
    /// Refuse it.
    Block(BlockKind),
    /// Leave the innermost container.
    Skip,
    /// Let it through and never decrypt it.
    Splice,
}

/// One condition; several values in it mean any of them.
#[derive(Clone, Debug)]
pub enum Condition {
    /// ALPN offers one of the names; `None`: ALPN is absent.
    Alpn(Vec<Option<Vec<u8>>>),
    /// The client's address is in one of the networks.
    Client(Vec<Net>),
    /// The original destination is in one of the networks.
    Destination(Vec<Net>),
    /// Encrypted ClientHello is offered, or is not.
    Ech(bool),
    /// The client is in one of the groups.
    Group(Vec<GroupId>),
    /// The server name matches one of the patterns; `None`: it is absent.
    Host(Vec<Option<HostPattern>>),
    /// The target was an address, or was not.
    HostIsIp(bool),
    /// The fingerprint matches one of the patterns.
    Ja4(Vec<Ja4Pattern>),
    /// The flow came by the listener.
    Listener(Listener),
    /// All of the conditions inside do not hold together.
    Not(Vec<Condition>),
    /// The original destination's port is in one of the ranges.
    Port(Vec<PortRange>),
    /// The first bytes are one of these; `None`: a genuine ClientHello.
    Tls(Vec<Option<NotNegotiated>>),
}

impl Condition {
    /// The fact that the condition asks about; `None` for a negation, which has conditions of its
    /// own.
    #[must_use]
    pub const fn fact(&self) -> Option<Fact> {
        Some(match self {
            Self::Alpn(_) => Fact::Alpn,
            Self::Client(_) => Fact::Client,
            Self::Destination(_) => Fact::Destination,
            Self::Ech(_) => Fact::Ech,
            Self::Group(_) => Fact::Groups,
            Self::Host(_) => Fact::Host,
            Self::HostIsIp(_) => Fact::HostIsIp,
            Self::Ja4(_) => Fact::Ja4,
            Self::Listener(_) => Fact::Listener,
            Self::Not(_) => return None,
            Self::Port(_) => Fact::Port,
            Self::Tls(_) => Fact::Tls,
        })
    }
}

/// A JA4 fingerprint, or the beginning of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ja4Pattern {
    /// The whole fingerprint.
    Exact(String),
    /// What it begins with: written with a `*` at the end.
    Prefix(String),
}
