//! Rules as an administrator writes them: typed, resolved, and not yet compiled.

use crate::{
    certificate::CertificateStates, facts::TlsVersions, host::HostPattern, list::List,
    negotiation::NotNegotiated, net::Net, outcome::BlockKind, port::PortRange, schedule::Schedule,
    stage::Fact, text::TextPattern,
};

/// Everything that decides what becomes of a flow that reaches the daemon.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    /// What decides where no rule does.
    pub defaults: Defaults,
    /// Who is known by address.
    pub users: Vec<User>,
    /// The groups; a [`GroupId`] is an index into them.
    pub groups: Vec<Group>,
    /// The lists; a [`ListId`] is an index into them.
    pub lists: Vec<List>,
    /// The schedules; a [`ScheduleId`] is an index into them.
    pub schedules: Vec<Schedule>,
    /// The rules, in the order of evaluation.
    pub rules: Vec<Rule>,
}

/// What decides where no rule does. Closed unless somebody says otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// For flows that are TLS or HTTP and name a server.
    pub identified: DefaultAction,
    /// For every other flow.
    pub unidentified: DefaultAction,
}

impl Default for Defaults {
    fn default() -> Self {
        let closed = DefaultAction::Block(BlockKind::Alert);
        Self {
            identified: closed,
            unidentified: closed,
        }
    }
}

/// What becomes of flows that no rule decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DefaultAction {
    /// They are let through.
    Allow,
    /// They are refused.
    Block(BlockKind),
}

/// Somebody who is known by the address that flows come from.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// The addresses. Where several users have one, the first user is meant.
    pub nets: Vec<Net>,
}

/// Index of a group in [`RuleSet::groups`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct GroupId(pub usize);

/// Index of a list in [`RuleSet::lists`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ListId(pub usize);

/// Index of a schedule in [`RuleSet::schedules`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ScheduleId(pub usize);

/// Clients and users that rules speak of by one name.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Addresses of members.
    pub nets: Vec<Net>,
    /// Users that are members, by name.
    pub users: Vec<String>,
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
    /// Tags that the record of a flow gets where the rule holds.
    pub tags: Vec<String>,
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
        /// Whether an allow or a block ends the walk; otherwise a later rule may override.
        last: bool,
        /// What a page says.
        message: Option<String>,
    },
    /// Lets the rules inside be walked; its conditions belong to each of them.
    Contain(Vec<Rule>),
}

/// What to do with a flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Let it through at the least depth.
    Allow,
    /// Refuse it.
    Block(BlockKind),
    /// Decrypt it, and go on.
    Inspect,
    /// Leave it out of the access records, and go on.
    NoLog,
    /// Leave the innermost container.
    Skip,
    /// Let it through and never decrypt it.
    Splice,
    /// Write a word into its record, and go on.
    Tag(String),
    /// Show a page once per period of so many seconds and per user, and go on.
    Warn(u64),
}

impl Action {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block(_) => "block",
            Self::Inspect => "inspect",
            Self::NoLog => "no-log",
            Self::Skip => "skip",
            Self::Splice => "splice",
            Self::Tag(_) => "tag",
            Self::Warn(_) => "warn",
        }
    }
}

/// One condition; several values in it mean any of them. `None` among values: the fact is absent.
#[derive(Clone, Debug)]
pub enum Condition {
    /// ALPN offers one of the names.
    Alpn(Vec<Option<Vec<u8>>>),
    /// The first bytes are those of one of the applications.
    Application(Vec<Option<String>>),
    /// The certificate is in one of the states.
    Certificate(CertificateStates),
    /// The client's address is in one of the networks or lists.
    Client(Vec<AddressItem>),
    /// The origin asks for a client certificate, or does not.
    ClientCertificate(bool),
    /// CONNECT names one of the hosts.
    ConnectHost(Vec<Option<HostItem>>),
    /// CONNECT names an address, or a name.
    ConnectHostIsIp(bool),
    /// CONNECT names a port in one of the ranges.
    ConnectPort(Vec<PortRange>),
    /// The User-Agent of the CONNECT.
    ConnectUserAgent(Vec<Option<TextPattern>>),
    /// The media type of a request's body.
    ContentType(Vec<Option<TextPattern>>),
    /// The original destination is in one of the networks or lists.
    Destination(Vec<AddressItem>),
    /// Encrypted ClientHello is offered, or is not.
    Ech(bool),
    /// The client or the user is in one of the groups; `None`: in no group at all.
    Group(Vec<Option<GroupId>>),
    /// A header field of a request.
    Header {
        /// Name of the field, in lower case.
        name: String,
        /// What it holds.
        values: Vec<Option<TextPattern>>,
    },
    /// The server name matches.
    Host(Vec<Option<HostItem>>),
    /// The target was an address, or was not.
    HostIsIp(bool),
    /// CONNECT and hello name different servers, or do not.
    HostMismatch(bool),
    /// The client speaks one of these inside TLS, by the words of [`crate::Inner::name`].
    Inner(Vec<Option<String>>),
    /// A request was read by decrypting, or in the clear.
    Inspected(bool),
    /// Who issued the certificate.
    Issuer(Vec<Option<TextPattern>>),
    /// The fingerprint matches one of the patterns.
    Ja4(Vec<Ja4Pattern>),
    /// The flow came by one of the listeners.
    Listener(Vec<ListenerPattern>),
    /// The method of a request.
    Method(Vec<String>),
    /// All of the conditions inside do not hold together.
    Not(Vec<Condition>),
    /// The path and query of a request's URL.
    Path(Vec<TextPattern>),
    /// The original destination's port is in one of the ranges.
    Port(Vec<PortRange>),
    /// The flow was opened within one of the schedules.
    Schedule(Vec<ScheduleId>),
    /// The announced length of a request's body.
    Size(Vec<SizeRange>),
    /// What is known of the negotiation.
    Tls(TlsStates),
    /// The hello offers one of the versions.
    TlsVersion(TlsVersions),
    /// The origin chose one of the versions.
    TlsVersionChosen(TlsVersions),
    /// The URL of a request.
    Url(Vec<UrlItem>),
    /// The host of a request's URL.
    UrlHost(Vec<HostItem>),
    /// The host of a request's URL is an address, or is not.
    UrlHostIsIp(bool),
    /// The client is one of the users; `None`: nobody knows who it is.
    User(Vec<Option<String>>),
    /// The User-Agent of a request.
    UserAgent(Vec<Option<TextPattern>>),
}

impl Condition {
    /// The fact that the condition asks about; `None` for a negation, which has conditions of its
    /// own.
    #[must_use]
    pub const fn fact(&self) -> Option<Fact> {
        Some(match self {
            Self::Alpn(_) => Fact::Alpn,
            Self::Application(_) => Fact::Application,
            Self::Certificate(_) => Fact::Certificate,
            Self::Client(_) => Fact::Client,
            Self::ClientCertificate(_) => Fact::ClientCertificate,
            Self::ConnectHost(_) | Self::ConnectHostIsIp(_) => Fact::ConnectHost,
            Self::ConnectPort(_) => Fact::ConnectPort,
            Self::ConnectUserAgent(_) => Fact::ConnectUserAgent,
            Self::ContentType(_) => Fact::ContentType,
            Self::Destination(_) => Fact::Destination,
            Self::Ech(_) => Fact::Ech,
            Self::Group(_) => Fact::Groups,
            Self::Header { .. } => Fact::Headers,
            Self::Host(_) => Fact::Host,
            Self::HostIsIp(_) => Fact::HostIsIp,
            Self::HostMismatch(_) => Fact::HostMismatch,
            Self::Inner(_) => Fact::Inner,
            Self::Inspected(_) => Fact::Inspected,
            Self::Issuer(_) => Fact::Issuer,
            Self::Ja4(_) => Fact::Ja4,
            Self::Listener(_) => Fact::Listener,
            Self::Method(_) => Fact::Method,
            Self::Not(_) => return None,
            Self::Path(_) | Self::Url(_) | Self::UrlHost(_) | Self::UrlHostIsIp(_) => Fact::Url,
            Self::Port(_) => Fact::Port,
            Self::Schedule(_) => Fact::Time,
            Self::Size(_) => Fact::Size,
            Self::Tls(_) => Fact::Tls,
            Self::TlsVersion(_) => Fact::TlsVersion,
            Self::TlsVersionChosen(_) => Fact::TlsVersionChosen,
            Self::User(_) => Fact::User,
            Self::UserAgent(_) => Fact::UserAgent,
        })
    }

    /// The key that stands for the condition in a configuration.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Alpn(_) => "alpn",
            Self::Application(_) => "application",
            Self::Certificate(_) => "certificate",
            Self::Client(_) => "client",
            Self::ClientCertificate(_) => "client-certificate",
            Self::ConnectHost(_) => "connect-host",
            Self::ConnectHostIsIp(_) => "connect-host-is-ip",
            Self::ConnectPort(_) => "connect-port",
            Self::ConnectUserAgent(_) => "connect-user-agent",
            Self::ContentType(_) => "content-type",
            Self::Destination(_) => "destination",
            Self::Ech(_) => "ech",
            Self::Group(_) => "group",
            Self::Header { .. } => "header",
            Self::Host(_) => "host",
            Self::HostIsIp(_) => "host-is-ip",
            Self::HostMismatch(_) => "host-mismatch",
            Self::Inner(_) => "inner",
            Self::Inspected(_) => "inspected",
            Self::Issuer(_) => "issuer",
            Self::Ja4(_) => "ja4",
            Self::Listener(_) => "listener",
            Self::Method(_) => "method",
            Self::Not(_) => "not",
            Self::Path(_) => "path",
            Self::Port(_) => "port",
            Self::Schedule(_) => "schedule",
            Self::Size(_) => "size",
            Self::Tls(_) => "tls",
            Self::TlsVersion(_) => "tls-version",
            Self::TlsVersionChosen(_) => "tls-version-chosen",
            Self::Url(_) => "url",
            Self::UrlHost(_) => "url-host",
            Self::UrlHostIsIp(_) => "url-host-is-ip",
            Self::User(_) => "user",
            Self::UserAgent(_) => "user-agent",
        }
    }
}

/// Addresses: a network, or those of a list.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AddressItem {
    /// The addresses of a list.
    List(ListId),
    /// The addresses of a network.
    Net(Net),
}

/// Server names: a pattern, or those of a list.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostItem {
    /// The names of a list.
    List(ListId),
    /// The names that a pattern matches.
    Pattern(HostPattern),
}

/// URLs: a pattern, or those of a list.
#[derive(Clone, Debug)]
pub enum UrlItem {
    /// The URLs of a list.
    List(ListId),
    /// URLs in their normal form that a pattern matches.
    Pattern(TextPattern),
}

/// Listeners: those of a kind, or one by name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenerPattern {
    /// The listener of this name.
    Named(String),
    /// Every proxy listener.
    Proxy,
    /// The transparent listener.
    Transparent,
}

/// A JA4 fingerprint, or the beginning of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ja4Pattern {
    /// The whole fingerprint.
    Exact(String),
    /// What it begins with: written with a `*` at the end.
    Prefix(String),
}

/// Lengths in bytes, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SizeRange {
    /// The least.
    pub least: u64,
    /// The most.
    pub most: u64,
}

/// What a condition on the negotiation holds for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TlsStates {
    /// The origin answered with a ServerHello that fits.
    pub negotiated: bool,
    reasons: u16,
}

impl TlsStates {
    /// Only where TLS is negotiated.
    pub const NEGOTIATED: Self = Self {
        negotiated: true,
        reasons: 0,
    };

    /// For some reasons why it is not.
    #[must_use]
    pub fn of(reasons: impl IntoIterator<Item = NotNegotiated>) -> Self {
        Self {
            negotiated: false,
            reasons: reasons.into_iter().fold(0, |bits, r| bits | r.bit()),
        }
    }

    /// For every reason that is known once the origin has answered.
    #[must_use]
    pub fn not_negotiated() -> Self {
        Self::of(
            NotNegotiated::ALL
                .into_iter()
                .filter(|reason| reason.stage() <= crate::stage::Stage::ServerHello),
        )
    }

    /// For every reason, those included that only a handshake of our own shows.
    #[must_use]
    pub fn not_negotiated_by_probe() -> Self {
        Self::of(NotNegotiated::ALL)
    }

    /// What either holds for.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            negotiated: self.negotiated || other.negotiated,
            reasons: self.reasons | other.reasons,
        }
    }

    /// Whether it holds for a reason.
    #[must_use]
    pub const fn contains(self, reason: NotNegotiated) -> bool {
        self.reasons & reason.bit() != 0
    }

    /// The reasons, in the order of [`NotNegotiated::ALL`].
    pub fn reasons(self) -> impl Iterator<Item = NotNegotiated> {
        NotNegotiated::ALL
            .into_iter()
            .filter(move |&reason| self.contains(reason))
    }
}
