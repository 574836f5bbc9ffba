//! Bytes to facts: the one translation that the daemon and the replay share.

use std::net::IpAddr;

use sluice_peek::http::{self, Head, Host};
use sluice_peek::{Answer, Hello, NoAgreement, NotTls};
use sluice_policy::{
    Alpn, CertificateState, CertificateStates, Facts, Listener, NotNegotiated, Policy, Stage, Tls,
    TlsVersion, TlsVersions,
};

/// The facts of a flow that was opened towards `port` of `destination`, at `time` in seconds since
/// 1970.
#[must_use]
pub fn opened(
    policy: &Policy,
    client: IpAddr,
    destination: IpAddr,
    port: u16,
    time: i64,
) -> Facts<'_> {
    let mut facts = Facts::packet(client, destination, port);
    facts.stage = Stage::Open;
    facts.listener = Some(Listener::Transparent);
    facts.user = policy.user_at(client);
    facts.time = Some(time);
    facts
}

/// The facts of a flow that began with a genuine ClientHello.
#[must_use]
pub fn of_hello<'a>(opened: Facts<'a>, hello: &'a Hello) -> Facts<'a> {
    let versions = hello.versions.iter();
    let mut facts = opened;
    facts.stage = Stage::Hello;
    facts.tls = Some(Tls::Hello);
    facts.host = hello.sni.as_ref().map(|name| name.as_str());
    facts.tls_versions =
        TlsVersions::of(versions.filter_map(|version| TlsVersion::from_code(version.code())));
    facts.alpn = match hello.alpn.as_wire() {
        [] => Alpn::ABSENT,
        list => Alpn::from_wire(list),
    };
    facts.ja4 = Some(hello.ja4.as_str());
    facts.ech = Some(hello.ech);
    facts
}

/// The facts of a flow that did not begin with TLS, but with what `application` begins with; `host`
/// is what its first request names, where it is HTTP.
#[must_use]
pub const fn of_not_tls<'a>(
    opened: Facts<'a>,
    why: NotTls,
    application: Option<&'a str>,
    host: Option<&'a str>,
) -> Facts<'a> {
    let mut facts = opened;
    facts.stage = Stage::Hello;
    facts.tls = Some(Tls::Not(not_negotiated(why)));
    facts.application = application;
    facts.host = host;
    facts
}

/// The host that the head of a request names, in canonical form; `None` where the head is not whole,
/// breaks a rule, or names none.
#[must_use]
pub fn http_host(bytes: &[u8], limit: usize) -> Option<Box<str>> {
    let Head::Request(request) = http::head(bytes, limit) else {
        return None;
    };
    match request.host {
        Host::Name(name) => Some(name.as_str().into()),
        Host::Address(address) => Some(address.to_string().into()),
        Host::Absent => None,
    }
}

/// What an origin answered to a ClientHello.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answered {
    /// Whether TLS is negotiated, and if not why.
    pub tls: Tls,
    /// The version that was chosen, where it has a word.
    pub version: Option<TlsVersion>,
}

impl Answered {
    /// What the origin's bytes say; `None` while they do not say enough.
    #[must_use]
    pub fn of(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Incomplete => None,
            Answer::Negotiated(chosen) => Some(Self {
                tls: Tls::Negotiated,
                version: TlsVersion::from_code(chosen.version),
            }),
            Answer::Not { why, .. } => Some(Self::not(match why {
                NoAgreement::NoCommonVersion => NotNegotiated::NoCommonVersion,
                NoAgreement::NoCommonCipher => NotNegotiated::NoCommonCipher,
                NoAgreement::OriginClosed | NoAgreement::Timeout => NotNegotiated::OriginClosed,
                // Whatever peek learns to tell apart is no answer that can be believed.
                _ => NotNegotiated::InconsistentServerHello,
            })),
        }
    }

    /// There is no TLS, and why not.
    #[must_use]
    pub const fn not(why: NotNegotiated) -> Self {
        Self {
            tls: Tls::Not(why),
            version: None,
        }
    }
}

/// The facts of a flow whose origin has answered its ClientHello.
#[must_use]
pub const fn of_answer(greeted: Facts<'_>, answered: Answered) -> Facts<'_> {
    let mut facts = greeted;
    facts.stage = Stage::ServerHello;
    facts.tls = Some(answered.tls);
    facts.tls_version_chosen = answered.version;
    facts
}

/// The facts of a flow whose origin's certificate could not be had.
#[must_use]
pub fn without_certificate(answered: Facts<'_>) -> Facts<'_> {
    let mut facts = answered;
    facts.stage = Stage::Certificate;
    facts.certificate = CertificateStates::of([CertificateState::Unavailable]);
    facts
}

/// Peek's word for what the client sent, as the policy's.
#[must_use]
pub const fn not_negotiated(why: NotTls) -> NotNegotiated {
    match why {
        NotTls::Malformed => NotNegotiated::MalformedHello,
        NotTls::Oversize => NotNegotiated::Oversize,
        NotTls::ServerFirst => NotNegotiated::ServerFirst,
        NotTls::Silent => NotNegotiated::Silent,
        NotTls::Sslv2Hello => NotNegotiated::Sslv2Hello,
        NotTls::Timeout => NotNegotiated::Timeout,
        NotTls::Truncated => NotNegotiated::Truncated,
        NotTls::ZeroLengthRecord => NotNegotiated::ZeroLengthRecord,
        // Whatever peek learns to tell apart is no TLS until the policy has a word for it.
        _ => NotNegotiated::NotTls,
    }
}
