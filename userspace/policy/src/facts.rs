//! What is known of one flow.

use std::net::IpAddr;

use crate::{
    certificate::CertificateStates,
    negotiation::Tls,
    stage::{Fact, FactSet, Stage},
};

/// What is known of one flow when a decision is asked for: filled stage by stage.
///
/// Everything beyond [`Facts::stage`] counts as unknown, whatever its field holds. What belongs to
/// the stage or to an earlier one and is `None` is absent, or does not apply to the flow. Addresses
/// may be given as sockets have them: an IPv4 address in IPv6 form counts as IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// How deep one has looked.
    pub stage: Stage,
    /// Facts that are not known although their stage is reached: for questions about flows of which
    /// only some things are given. Empty for a flow.
    pub unknown: FactSet,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The address that the client dialled.
    pub destination: Option<IpAddr>,
    /// The port that the client dialled.
    pub port: Option<u16>,
    /// The listener that took the flow.
    pub listener: Option<Listener<'a>>,
    /// Who the client is; `None` where nobody knows.
    pub user: Option<&'a str>,
    /// Names of groups that somebody else than the policy says the client is in.
    pub groups: &'a [Box<str>],
    /// When the flow was opened, in seconds since 1970 in UTC.
    pub time: Option<i64>,
    /// What a CONNECT asks for; only on proxy listeners.
    pub connect: Option<Connect<'a>>,
    /// The server name of the hello or, where it has none, of the CONNECT. Letter case and one
    /// trailing dot do not matter.
    pub host: Option<&'a str>,
    /// Whether the target was an address; `None`: as [`Facts::host`] shows.
    pub host_is_ip: Option<bool>,
    /// Whether CONNECT and hello name different servers; `None`: as the two names show.
    pub host_mismatch: Option<bool>,
    /// What is known of the negotiation.
    pub tls: Option<Tls>,
    /// The versions that the hello offers.
    pub tls_versions: TlsVersions,
    /// The application protocols that the hello offers.
    pub alpn: Alpn<'a>,
    /// The JA4 fingerprint of the hello.
    pub ja4: Option<&'a str>,
    /// Whether the hello offers Encrypted ClientHello.
    pub ech: Option<bool>,
    /// The application that the client's first bytes show, where they are not TLS.
    pub application: Option<&'a str>,
    /// The version that the origin chose.
    pub tls_version_chosen: Option<TlsVersion>,
    /// What the origin's certificate is.
    pub certificate: CertificateStates,
    /// Who issued the origin's certificate.
    pub issuer: Option<&'a str>,
    /// Whether the origin asks for a client certificate.
    pub client_certificate: Option<bool>,
    /// One request.
    pub request: Request<'a>,
}

impl<'a> Facts<'a> {
    /// A flow of which nothing is known, at a stage.
    #[must_use]
    pub const fn at(stage: Stage) -> Self {
        Self {
            stage,
            unknown: FactSet::EMPTY,
            client: None,
            destination: None,
            port: None,
            listener: None,
            user: None,
            groups: &[],
            time: None,
            connect: None,
            host: None,
            host_is_ip: None,
            host_mismatch: None,
            tls: None,
            tls_versions: TlsVersions::NONE,
            alpn: Alpn::ABSENT,
            ja4: None,
            ech: None,
            application: None,
            tls_version_chosen: None,
            certificate: CertificateStates::NONE,
            issuer: None,
            client_certificate: None,
            request: Request::NONE,
        }
    }

    /// A packet that begins a flow.
    #[must_use]
    pub const fn packet(client: IpAddr, destination: IpAddr, port: u16) -> Self {
        let mut facts = Self::at(Stage::Packet);
        facts.client = Some(client);
        facts.destination = Some(destination);
        facts.port = Some(port);
        facts
    }

    /// The facts that are known.
    #[must_use]
    pub const fn known(&self) -> FactSet {
        let reached = match self.stage {
            Stage::Packet => PACKET,
            Stage::Open => OPEN,
            Stage::Hello => HELLO,
            Stage::ServerHello => SERVER_HELLO,
            Stage::Certificate => CERTIFICATE,
            Stage::Request => REQUEST,
        };
        reached.without(self.unknown)
    }

    /// What is known of the negotiation at this stage: what a later one tells is left out.
    #[must_use]
    pub const fn negotiation(&self) -> Option<Tls> {
        match self.tls {
            Some(Tls::Not(reason)) if (reason.stage() as u8) > self.stage as u8 => {
                if self.stage as u8 >= Stage::ServerHello as u8 {
                    Some(Tls::Negotiated)
                } else {
                    Some(Tls::Hello)
                }
            }
            Some(Tls::Hello) if self.stage as u8 >= Stage::ServerHello as u8 => {
                Some(Tls::Negotiated)
            }
            Some(Tls::Negotiated) if (self.stage as u8) < Stage::ServerHello as u8 => {
                Some(Tls::Hello)
            }
            tls => tls,
        }
    }

    /// Whether the client's own first bytes are a TLS hello that can be answered.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        match self.tls {
            None => false,
            Some(Tls::Hello | Tls::Negotiated) => true,
            Some(Tls::Not(reason)) => reason.follows_hello(),
        }
    }

    /// Whether the origin's certificate is, or can become, a fact of this flow.
    pub(crate) const fn has_certificate(&self) -> bool {
        match self.negotiation() {
            None => false,
            Some(Tls::Hello | Tls::Negotiated) => true,
            Some(Tls::Not(reason)) => {
                reason.follows_hello() && !matches!(reason.stage(), Stage::ServerHello)
            }
        }
    }

    /// Whether the client's own first bytes are cleartext HTTP.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.application == Some("http") && !self.is_tls()
    }

    /// Whether the flow has, or can have, requests to judge.
    pub(crate) fn has_requests(&self) -> bool {
        self.is_http() || self.has_certificate()
    }

    /// Whether the flow came by a proxy listener.
    #[must_use]
    pub const fn is_proxied(&self) -> bool {
        match self.listener {
            Some(listener) => !listener.is_transparent(),
            None => self.connect.is_some(),
        }
    }

    /// Whether a CONNECT opened the flow. Requests that name their URL to a proxy listener have none.
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        self.is_proxied() && self.connect.is_some()
    }

    /// Whether the flow is TLS or HTTP by the client's own first bytes and names a server, so that
    /// `default` rather than `default_unidentified` stands for it; `None` before those bytes are
    /// known.
    #[must_use]
    pub fn is_identified(&self) -> Option<bool> {
        let rests_on = FactSet::of_all(&[Fact::Tls, Fact::Host, Fact::Application]);
        if !rests_on.without(self.known()).is_empty() {
            return None;
        }
        let speaks = self.is_tls() || self.is_http();
        Some(speaks && self.host.is_some_and(|host| !is_ip_literal(host)))
    }

    /// Whether the target was an address: an IP literal, or no name at all.
    #[must_use]
    pub fn is_addressed_by_ip(&self) -> bool {
        self.host_is_ip
            .unwrap_or_else(|| self.host.is_none_or(is_ip_literal))
    }

    /// Whether CONNECT and hello name different servers.
    #[must_use]
    pub fn has_host_mismatch(&self) -> bool {
        let differ = || {
            let connect = self.connect.and_then(|connect| connect.host)?;
            let trimmed = |name: &'a str| name.strip_suffix('.').unwrap_or(name);
            Some(!trimmed(connect).eq_ignore_ascii_case(trimmed(self.host?)))
        };
        self.host_mismatch
            .unwrap_or_else(|| differ().unwrap_or(false))
    }
}

const PACKET: FactSet = FactSet::known_at(Stage::Packet);
const OPEN: FactSet = FactSet::known_at(Stage::Open);
const HELLO: FactSet = FactSet::known_at(Stage::Hello);
const SERVER_HELLO: FactSet = FactSet::known_at(Stage::ServerHello);
const CERTIFICATE: FactSet = FactSet::known_at(Stage::Certificate);
const REQUEST: FactSet = FactSet::known_at(Stage::Request);

/// Whether a server name is an IP literal, which RFC 6066 section 3 forbids.
pub(crate) fn is_ip_literal(host: &str) -> bool {
    // Every name that may be an address ends in a digit or holds a colon; few names do.
    let suspicious = host.ends_with(|c: char| c.is_ascii_digit()) || host.contains(':');
    suspicious && host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// How a flow came to the daemon.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Listener<'a> {
    /// A client dialled the proxy listener of this name.
    Proxy(&'a str),
    /// The kernel steered it; the client knows of no proxy.
    Transparent,
}

impl Listener<'_> {
    const fn is_transparent(self) -> bool {
        matches!(self, Self::Transparent)
    }
}

/// What a CONNECT asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Connect<'a> {
    /// The name or address.
    pub host: Option<&'a str>,
    /// The port.
    pub port: Option<u16>,
    /// The User-Agent that came with it.
    pub user_agent: Option<&'a str>,
}

/// One request, in the clear or decrypted; or what a decrypted flow carries in place of requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What the client speaks inside TLS; `None`: HTTP where there is a URL, nothing that is known
    /// otherwise. Of no account on flows that are not TLS.
    pub inner: Option<Inner<'a>>,
    /// Whether it was read by decrypting; `None`: whether the flow is TLS.
    pub inspected: Option<bool>,
    /// The URL in its normal form, with scheme and authority.
    pub url: Option<&'a str>,
    /// The method.
    pub method: Option<&'a str>,
    /// The header fields, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The User-Agent; `None`: as the header fields have it.
    pub user_agent: Option<&'a str>,
    /// The media type of the body; `None`: as the header fields have it.
    pub content_type: Option<&'a str>,
    /// The length of the body in bytes, where it is announced.
    pub size: Option<u64>,
}

impl<'a> Request<'a> {
    /// Nothing is known of it.
    pub const NONE: Self = Self {
        inner: None,
        inspected: None,
        url: None,
        method: None,
        headers: &[],
        user_agent: None,
        content_type: None,
        size: None,
    };

    /// What the client speaks inside TLS.
    #[must_use]
    pub const fn inner(&self) -> Inner<'a> {
        match self.inner {
            Some(inner) => inner,
            None if self.url.is_some() => Inner::Http,
            None => Inner::Unrecognised,
        }
    }

    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find_map(|&(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// What a client speaks inside TLS that sluice ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Inner<'a> {
    /// Something other than HTTP whose first bytes are known, by the word that rules have for it.
    Application(&'a str),
    /// HTTP, whatever its version.
    Http,
    /// Nothing that is known: other bytes, none at all, or a client that waits for the origin's.
    Unrecognised,
    /// HTTP whose request asks to go on as WebSocket.
    WebSocket,
}

impl<'a> Inner<'a> {
    /// What a word stands for; words that are none of HTTP's stand for applications.
    #[must_use]
    pub fn from_name(name: &'a str) -> Self {
        match name {
            "http" => Self::Http,
            "websocket" => Self::WebSocket,
            application => Self::Application(application),
        }
    }

    /// The word used in configuration and logs; `None` for what is not recognised.
    #[must_use]
    pub const fn name(self) -> Option<&'a str> {
        match self {
            Self::Application(name) => Some(name),
            Self::Http => Some("http"),
            Self::Unrecognised => None,
            Self::WebSocket => Some("websocket"),
        }
    }

    /// Whether there are requests with a URL, a method and fields.
    #[must_use]
    pub const fn has_requests(self) -> bool {
        matches!(self, Self::Http | Self::WebSocket)
    }
}

/// The application protocols that a ClientHello offers, as they stand on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Alpn<'a>(Option<&'a [u8]>);

impl<'a> Alpn<'a> {
    /// No protocols are offered.
    pub const ABSENT: Self = Self(None);

    /// The protocols of a `ProtocolNameList` (RFC 7301 section 3.1) without the two bytes of its
    /// own length: each name behind one byte of length.
    #[must_use]
    pub const fn from_wire(list: &'a [u8]) -> Self {
        Self(Some(list))
    }

    /// Whether the hello has no ALPN extension.
    #[must_use]
    pub const fn is_absent(self) -> bool {
        self.0.is_none()
    }

    /// The names, in the client's order of preference; a name that ends beyond the list is left
    /// out.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0.unwrap_or_default();
        std::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (name, tail) = tail.split_at_checked(length.into())?;
            rest = tail;
            Some(name)
        })
    }
}

/// A version of TLS, or of SSL before it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum TlsVersion {
    /// SSL 3.0 (RFC 6101).
    Ssl30,
    /// TLS 1.0 (RFC 2246).
    Tls10,
    /// TLS 1.1 (RFC 4346).
    Tls11,
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl TlsVersion {
    /// Every version, the oldest first.
    pub const ALL: [Self; 5] = [
        Self::Ssl30,
        Self::Tls10,
        Self::Tls11,
        Self::Tls12,
        Self::Tls13,
    ];

    /// The word used in configuration and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssl30 => "ssl3",
            Self::Tls10 => "1.0",
            Self::Tls11 => "1.1",
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    /// The version of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }

    /// The version of a code point; `None` for those that have no word here.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0x0300 => Self::Ssl30,
            0x0301 => Self::Tls10,
            0x0302 => Self::Tls11,
            0x0303 => Self::Tls12,
            0x0304 => Self::Tls13,
            _ => return None,
        })
    }
}

/// A set of versions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TlsVersions(u8);

impl TlsVersions {
    /// No version.
    pub const NONE: Self = Self(0);

    /// The set of some versions.
    #[must_use]
    pub fn of(versions: impl IntoIterator<Item = TlsVersion>) -> Self {
        Self(versions.into_iter().fold(0, |bits, v| bits | 1 << v as u8))
    }

    /// Whether both sets have a member in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The members, the oldest first.
    pub fn iter(self) -> impl Iterator<Item = TlsVersion> {
        TlsVersion::ALL
            .into_iter()
            .filter(move |&version| self.0 & (1 << version as u8) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::negotiation::NotNegotiated;

    fn flow(host: Option<&str>) -> Facts<'_> {
        let mut facts = Facts::packet([10, 0, 0, 1].into(), [192, 0, 2, 1].into(), 443);
        facts.stage = Stage::Hello;
        facts.tls = Some(Tls::Hello);
        facts.host = host;
        facts
    }

    #[test]
    fn a_name_identifies_and_an_address_does_not() {
        assert_eq!(flow(Some("a.example")).is_identified(), Some(true));
        assert_eq!(flow(Some("192.0.2.1")).is_identified(), Some(false));
        assert_eq!(flow(Some("[2001:db8::1]")).is_identified(), Some(false));
        assert_eq!(flow(Some("host1")).is_identified(), Some(true));
        assert_eq!(flow(None).is_identified(), Some(false));
        let mut opened = flow(None);
        opened.stage = Stage::Open;
        assert_eq!(opened.is_identified(), None);
    }

    #[test]
    fn cleartext_http_that_names_a_server_is_identified() {
        let mut facts = flow(Some("a.example"));
        facts.tls = Some(Tls::Not(NotNegotiated::NotTls));
        assert_eq!(facts.is_identified(), Some(false));
        facts.application = Some("http");
        assert_eq!(facts.is_identified(), Some(true));
    }

    #[test]
    fn what_a_later_stage_tells_is_not_known_before() {
        let mut facts = flow(None);
        facts.tls = Some(Tls::Not(NotNegotiated::OriginHandshakeFailed));
        assert_eq!(facts.negotiation(), Some(Tls::Hello));
        facts.stage = Stage::ServerHello;
        assert_eq!(facts.negotiation(), Some(Tls::Negotiated));
        facts.stage = Stage::Certificate;
        assert_eq!(facts.negotiation(), facts.tls);
    }

    #[test]
    fn what_is_inside_is_http_only_where_somebody_says_so() {
        let mut request = Request::NONE;
        assert_eq!(request.inner(), Inner::Unrecognised);
        request.url = Some("https://a.example/");
        assert_eq!(request.inner(), Inner::Http);
        request.inner = Some(Inner::from_name("ssh"));
        assert_eq!(request.inner(), Inner::Application("ssh"));
        for name in ["http", "websocket", "ssh"] {
            let inner = Inner::from_name(name);
            assert_eq!(inner.name(), Some(name));
            assert_eq!(inner.has_requests(), name != "ssh");
        }
    }

    #[test]
    fn alpn_names_come_off_the_wire() {
        let names: Vec<_> = Alpn::from_wire(b"\x02h2\x08http/1.1\x05cut")
            .iter()
            .collect();
        assert_eq!(names, [b"h2".as_slice(), b"http/1.1"]);
        assert_eq!(Alpn::ABSENT.iter().count(), 0);
    }
}
