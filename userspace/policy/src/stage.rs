//! What can be known of a flow, and how deep one has to look to know it.

use std::fmt;

/// How deep one has looked into a flow; each stage knows what the earlier ones know.
///
/// The order is the order in which a flow reaches the stages, and also that of their price.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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
    /// The client's address.
    Client,
    /// The original destination's address.
    Destination,
    /// Whether Encrypted ClientHello was offered.
    Ech,
    /// The groups that the client's address is in.
    Groups,
    /// The server name.
    Host,
    /// Whether the target was an address rather than a name.
    HostIsIp,
    /// The JA4 fingerprint of the ClientHello.
    Ja4,
    /// The listener that took the flow.
    Listener,
    /// The original destination's port.
    Port,
    /// Whether the first bytes negotiate TLS, and if not why.
    Tls,
}

impl Fact {
    /// Every fact.
    pub const ALL: [Self; 11] = [
        Self::Alpn,
        Self::Client,
        Self::Destination,
        Self::Ech,
        Self::Groups,
        Self::Host,
        Self::HostIsIp,
        Self::Ja4,
        Self::Listener,
        Self::Port,
        Self::Tls,
    ];

    /// The name used in logs and in explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alpn => "alpn",
            Self::Client => "client",
            Self::Destination => "destination",
            Self::Ech => "ech",
            Self::Groups => "groups",
            Self::Host => "host",
            Self::HostIsIp => "host_is_ip",
            Self::Ja4 => "ja4",
            Self::Listener => "listener",
            Self::Port => "port",
            Self::Tls => "tls",
        }
    }

    /// The stage that makes the fact known.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Client | Self::Destination | Self::Port => Stage::Packet,
            Self::Groups | Self::Listener => Stage::Open,
            Self::Alpn | Self::Ech | Self::Host | Self::HostIsIp | Self::Ja4 | Self::Tls => {
                Stage::Hello
            }
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

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
