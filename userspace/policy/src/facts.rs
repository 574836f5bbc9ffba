//! What is known of one flow.

use std::net::IpAddr;

use sluice_abi::Reason;

use crate::stage::Stage;

/// What is known of one flow when a decision is asked for.
///
/// A part that is `None` is not known yet. Addresses may be given as sockets have them: an IPv4
/// address in IPv6 form counts as IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The address that the client dialled.
    pub destination: IpAddr,
    /// The port that the client dialled.
    pub port: u16,
    /// What is known once the flow has been opened.
    pub open: Option<Open>,
    /// What the client's first bytes tell.
    pub first_bytes: Option<FirstBytes<'a>>,
}

impl<'a> Facts<'a> {
    /// The facts of a flow that a client opened through the transparent listener.
    #[must_use]
    pub const fn opened(client: IpAddr, destination: IpAddr, port: u16) -> Self {
        let open = Some(Open {
            listener: Listener::Transparent,
        });
        Self {
            client,
            destination,
            port,
            open,
            first_bytes: None,
        }
    }

    /// The same flow with its first bytes known.
    #[must_use]
    pub const fn with_first_bytes(mut self, first_bytes: FirstBytes<'a>) -> Self {
        self.first_bytes = Some(first_bytes);
        self
    }

    /// How deep the facts reach.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match (&self.open, &self.first_bytes) {
            (None, _) => Stage::Packet,
            (Some(_), None) => Stage::Open,
            (Some(_), Some(_)) => Stage::Hello,
        }
    }

    /// The server name, where the first bytes are known and name one.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        match self.first_bytes {
            Some(FirstBytes::Hello(hello)) => hello.host,
            Some(FirstBytes::Other(_)) | None => None,
        }
    }

    /// Whether the flow is TLS that names a server, so that `default` rather than
    /// `default_unidentified` stands for it; `None` before the first bytes are known.
    #[must_use]
    pub fn is_identified(&self) -> Option<bool> {
        self.first_bytes
            .map(|_| self.host().is_some_and(|host| !is_ip_literal(host)))
    }

    /// Whether the target was an address: the first bytes name no server, or an IP literal.
    ///
    /// `None` before the first bytes are known.
    #[must_use]
    pub fn host_is_ip(&self) -> Option<bool> {
        self.is_identified().map(|identified| !identified)
    }
}

/// Whether a server name is an IP literal, which RFC 6066 section 3 forbids.
fn is_ip_literal(host: &str) -> bool {
    // Every name that may be an address ends in a digit or holds a colon; few names do.
    let suspicious = host.ends_with(|c: char| c.is_ascii_digit()) || host.contains(':');
    suspicious && host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// What is known once the flow has been opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Open {
    /// The listener that took the flow.
    pub listener: Listener,
}

/// How a flow came to the daemon.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Listener {
    /// The kernel steered it; the client knows of no proxy.
    Transparent,
}

/// What the client's first bytes are.
#[derive(Clone, Copy, Debug)]
pub enum FirstBytes<'a> {
    /// A genuine ClientHello.
    Hello(Hello<'a>),
    /// Anything else, silence included.
    Other(NotNegotiated),
}

/// What a genuine ClientHello tells.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The server name, or `None` where the hello carries none. Letter case and one trailing dot
    /// do not matter.
    pub host: Option<&'a str>,
    /// The application protocols offered.
    pub alpn: Alpn<'a>,
    /// The JA4 fingerprint.
    pub ja4: &'a str,
    /// Whether Encrypted ClientHello is offered.
    pub ech: bool,
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

/// Why TLS was not negotiated, as far as the client's first bytes tell.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum NotNegotiated {
    /// The ClientHello cannot be decoded.
    MalformedHello,
    /// The first bytes are not TLS.
    NotTls,
    /// The ClientHello is larger than the limit.
    Oversize,
    /// The origin speaks first.
    ServerFirst,
    /// The client sends nothing.
    Silent,
    /// A ClientHello in SSLv2 format.
    Sslv2Hello,
    /// The ClientHello was not whole within its time.
    Timeout,
    /// The client ended before its ClientHello was whole.
    Truncated,
    /// The client begins with a TLS record of no length.
    ZeroLengthRecord,
}

impl NotNegotiated {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::MalformedHello,
        Self::NotTls,
        Self::Oversize,
        Self::ServerFirst,
        Self::Silent,
        Self::Sslv2Hello,
        Self::Timeout,
        Self::Truncated,
        Self::ZeroLengthRecord,
    ];

    /// The word used in configuration, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.reason().name()
    }

    /// The reason of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The same as one of the reasons that every part of sluice shares.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::MalformedHello => Reason::HelloMalformed,
            Self::NotTls => Reason::NotTls,
            Self::Oversize => Reason::HelloOversize,
            Self::ServerFirst => Reason::ServerFirst,
            Self::Silent => Reason::Silent,
            Self::Sslv2Hello => Reason::Sslv2Hello,
            Self::Timeout => Reason::HelloTimeout,
            Self::Truncated => Reason::HelloTruncated,
            Self::ZeroLengthRecord => Reason::ZeroLengthRecord,
        }
    }

    pub(crate) const fn bit(self) -> u16 {
        1 << self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(host: Option<&str>) -> Facts<'_> {
        let hello = Hello {
            host,
            alpn: Alpn::ABSENT,
            ja4: "",
            ech: false,
        };
        Facts::opened([10, 0, 0, 1].into(), [192, 0, 2, 1].into(), 443)
            .with_first_bytes(FirstBytes::Hello(hello))
    }

    #[test]
    fn a_name_identifies_and_an_address_does_not() {
        assert_eq!(flow(Some("a.example")).is_identified(), Some(true));
        assert_eq!(flow(Some("192.0.2.1")).is_identified(), Some(false));
        assert_eq!(flow(Some("[2001:db8::1]")).is_identified(), Some(false));
        assert_eq!(flow(Some("host1")).is_identified(), Some(true));
        assert_eq!(flow(None).is_identified(), Some(false));
        let mut opened = flow(None);
        opened.first_bytes = None;
        assert_eq!(opened.is_identified(), None);
    }

    #[test]
    fn alpn_names_come_off_the_wire() {
        let names: Vec<_> = Alpn::from_wire(b"\x02h2\x08http/1.1\x05cut")
            .iter()
            .collect();
        assert_eq!(names, [b"h2".as_slice(), b"http/1.1"]);
        assert_eq!(Alpn::ABSENT.iter().count(), 0);
    }

    #[test]
    fn a_reason_has_one_name_everywhere() {
        for reason in NotNegotiated::ALL {
            assert_eq!(NotNegotiated::from_name(reason.name()), Some(reason));
        }
    }
}
