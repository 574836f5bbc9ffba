//! What can be known of a flow, and how deep one has to look to know it.

use std::fmt;

/// How deep one has looked into a flow; each stage knows what the earlier ones know.
///
/// The order is the order in which a flow reaches the stages, and also that of their price.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Stage {
    /// One packet: addresses and ports. Decided in the kernel.
    Packet,
    /// The flow has been opened: who opened it, where and when.
    Open,
    /// The client's first bytes have been read.
    Hello,
    /// The origin has answered the ClientHello.
    ServerHello,
    /// The origin's certificate has been verified by a handshake of sluice's own.
    Certificate,
    /// The flow is decrypted and a request has been read.
    Request,
}

impl Stage {
    /// Every stage, from the first to the last.
    pub const ALL: [Self; 6] = [
        Self::Packet,
        Self::Open,
        Self::Hello,
        Self::ServerHello,
        Self::Certificate,
        Self::Request,
    ];

    /// The word used in logs and in explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Open => "open",
            Self::Hello => "hello",
            Self::ServerHello => "server_hello",
            Self::Certificate => "certificate",
            Self::Request => "request",
        }
    }

    /// The stage of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// The stage that follows, or the last one again.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Packet => Self::Open,
            Self::Open => Self::Hello,
            Self::Hello => Self::ServerHello,
            Self::ServerHello => Self::Certificate,
            Self::Certificate | Self::Request => Self::Request,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a condition asks about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Fact {
    /// Whether ALPN was offered, and which names.
    Alpn,
    /// The application that the client's first bytes show, where they are not TLS.
    Application,
    /// Whether the origin's certificate is valid, and if not why.
    Certificate,
    /// The client's address.
    Client,
    /// Whether the origin asks for a client certificate.
    ClientCertificate,
    /// The name or address that a CONNECT asks for.
    ConnectHost,
    /// The port that a CONNECT asks for.
    ConnectPort,
    /// The User-Agent of a CONNECT.
    ConnectUserAgent,
    /// The media type of a request's body.
    ContentType,
    /// The original destination's address.
    Destination,
    /// Whether Encrypted ClientHello was offered.
    Ech,
    /// The groups that the client or the user is in.
    Groups,
    /// The header fields of a request.
    Headers,
    /// The server name.
    Host,
    /// Whether the target was an address rather than a name.
    HostIsIp,
    /// Whether CONNECT and the ClientHello name different servers.
    HostMismatch,
    /// What the client speaks inside TLS that sluice ended.
    Inner,
    /// Whether a request was read by decrypting.
    Inspected,
    /// Who issued the origin's certificate.
    Issuer,
    /// The JA4 fingerprint of the ClientHello.
    Ja4,
    /// The listener that took the flow.
    Listener,
    /// The method of a request.
    Method,
    /// The original destination's port.
    Port,
    /// The length of a request's body.
    Size,
    /// When the flow was opened.
    Time,
    /// Whether TLS is negotiated, and if not why. More is known of it at every stage from hello
    /// to certificate.
    Tls,
    /// The versions that the ClientHello offers.
    TlsVersion,
    /// The version that the origin chose.
    TlsVersionChosen,
    /// The URL of a request.
    Url,
    /// Who the client is.
    User,
    /// The User-Agent of a request.
    UserAgent,
}

impl Fact {
    /// Every fact.
    pub const ALL: [Self; 31] = [
        Self::Alpn,
        Self::Application,
        Self::Certificate,
        Self::Client,
        Self::ClientCertificate,
        Self::ConnectHost,
        Self::ConnectPort,
        Self::ConnectUserAgent,
        Self::ContentType,
        Self::Destination,
        Self::Ech,
        Self::Groups,
        Self::Headers,
        Self::Host,
        Self::HostIsIp,
        Self::HostMismatch,
        Self::Inner,
        Self::Inspected,
        Self::Issuer,
        Self::Ja4,
        Self::Listener,
        Self::Method,
        Self::Port,
        Self::Size,
        Self::Time,
        Self::Tls,
        Self::TlsVersion,
        Self::TlsVersionChosen,
        Self::Url,
        Self::User,
        Self::UserAgent,
    ];

    /// The name used in logs and in explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alpn => "alpn",
            Self::Application => "application",
            Self::Certificate => "certificate",
            Self::Client => "client",
            Self::ClientCertificate => "client_certificate",
            Self::ConnectHost => "connect_host",
            Self::ConnectPort => "connect_port",
            Self::ConnectUserAgent => "connect_user_agent",
            Self::ContentType => "content_type",
            Self::Destination => "destination",
            Self::Ech => "ech",
            Self::Groups => "groups",
            Self::Headers => "headers",
            Self::Host => "host",
            Self::HostIsIp => "host_is_ip",
            Self::HostMismatch => "host_mismatch",
            Self::Inner => "inner",
            Self::Inspected => "inspected",
            Self::Issuer => "issuer",
            Self::Ja4 => "ja4",
            Self::Listener => "listener",
            Self::Method => "method",
            Self::Port => "port",
            Self::Size => "size",
            Self::Time => "time",
            Self::Tls => "tls",
            Self::TlsVersion => "tls_version",
            Self::TlsVersionChosen => "tls_version_chosen",
            Self::Url => "url",
            Self::User => "user",
            Self::UserAgent => "user_agent",
        }
    }

    /// The stage that makes the fact known; of [`Fact::Tls`] the first that does.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Client | Self::Destination | Self::Port => Stage::Packet,
            Self::ConnectHost
            | Self::ConnectPort
            | Self::ConnectUserAgent
            | Self::Groups
            | Self::Listener
            | Self::Time
            | Self::User => Stage::Open,
            Self::Alpn
            | Self::Application
            | Self::Ech
            | Self::Host
            | Self::HostIsIp
            | Self::HostMismatch
            | Self::Ja4
            | Self::Tls
            | Self::TlsVersion => Stage::Hello,
            Self::TlsVersionChosen => Stage::ServerHello,
            Self::Certificate | Self::ClientCertificate | Self::Issuer => Stage::Certificate,
            Self::ContentType
            | Self::Headers
            | Self::Inner
            | Self::Inspected
            | Self::Method
            | Self::Size
            | Self::Url
            | Self::UserAgent => Stage::Request,
        }
    }
}

/// A set of facts.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct FactSet(u32);

impl FactSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// The set of one fact.
    #[must_use]
    pub const fn of(fact: Fact) -> Self {
        Self(1 << fact as u8)
    }

    /// The set of some facts.
    #[must_use]
    pub const fn of_all(facts: &[Fact]) -> Self {
        let (mut set, mut rest) = (Self::EMPTY, facts);
        while let [first, tail @ ..] = rest {
            set = set.union(Self::of(*first));
            rest = tail;
        }
        set
    }

    /// The facts that are known where a stage is reached.
    #[must_use]
    pub const fn known_at(stage: Stage) -> Self {
        let (mut set, mut rest) = (Self::EMPTY, Fact::ALL.as_slice());
        while let [first, tail @ ..] = rest {
            if first.stage() as u8 <= stage as u8 {
                set = set.union(Self::of(*first));
            }
            rest = tail;
        }
        set
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members that are not in the other set.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the fact is a member.
    #[must_use]
    pub const fn contains(self, fact: Fact) -> bool {
        self.0 & Self::of(fact).0 != 0
    }

    /// The members, in the order of [`Fact::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Fact> {
        Fact::ALL
            .into_iter()
            .filter(move |&fact| self.contains(fact))
    }
}

impl fmt::Debug for FactSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Fact::name)).finish()
    }
}
