//! The sections `[resolver]`, `[upstream]` and `[intercept]`: how origins are found and met, and how
//! clients are.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    read::{Keys, Section},
    sections::count,
    sources::Files,
    value,
};
use crate::names;
use crate::origin::{ClientCertificate, RevocationMode, Settings, Unknown};

pub(super) const UPSTREAM: Keys = Keys {
    known: &[
        "system_roots",
        "roots",
        "revocation",
        "revocation_unknown",
        "crls",
        "client_certificate",
        "answer_timeout",
        "handshake_timeout",
        "sessions",
    ],
    later: &[],
};

pub(super) const INTERCEPT: Keys = Keys {
    known: &["handshake_timeout", "head_timeout", "rejected_ttl"],
    later: &[],
};

pub(super) const RESOLVER: Keys = Keys {
    known: &["servers", "timeout", "cache", "attempt_delay"],
    later: &[],
};

pub(super) fn resolver(section: &Section<'_>) -> names::Settings {
    let default = names::Settings::default();
    names::Settings {
        servers: section.list("servers", Vec::new, server),
        timeout: positive(section, "timeout", default.timeout),
        cache: count(section, "cache", default.cache),
        attempt_delay: attempt_delay(section, default.attempt_delay),
    }
}

/// RFC 8305 section 8: shorter floods origins with attempts, longer helps nobody.
fn attempt_delay(section: &Section<'_>, default: Duration) -> Duration {
    const BOUNDS: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(10)..=Duration::from_secs(2);
    let delay = section.value("attempt_delay", default, value::duration);
    if !BOUNDS.contains(&delay)
        && let Some(item) = section.get("attempt_delay")
    {
        item.note("expected from \"10ms\" to \"2s\"");
    }
    delay
}

/// A name server: an address, with or without a port.
fn server(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 53;
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    address
        .or_else(|_| text.parse())
        .map_err(|_| "expected an address, as in \"192.0.2.53\" or \"[2001:db8::53]:5353\"".into())
}

/// The section `[intercept]`.
#[derive(Clone, Copy, Debug)]
pub struct Intercept {
    /// Time for a handshake of a client's with the gateway.
    pub handshake_timeout: Duration,
    /// Time for the head of a request, and for the next one to come on a connection of HTTP/1.
    pub head_timeout: Duration,
    /// How long it is remembered that a client refused a leaf.
    pub rejected_ttl: Duration,
}

pub(super) fn intercept(section: &Section<'_>) -> Intercept {
    Intercept {
        handshake_timeout: positive(section, "handshake_timeout", Duration::from_secs(10)),
        head_timeout: positive(section, "head_timeout", Duration::from_secs(60)),
        rejected_ttl: positive(section, "rejected_ttl", Duration::from_secs(86_400)),
    }
}

pub(super) fn upstream(section: &Section<'_>, files: &Files<'_>) -> Settings {
    let default = Settings::default();
    let revocation = section.choice(
        "revocation",
        default.revocation,
        &[
            RevocationMode::Off,
            RevocationMode::Staple,
            RevocationMode::Crl,
        ]
        .map(|mode| (mode.name(), mode)),
    );
    let crls = section.list("crls", Vec::new, |text| files.path(text));
    if revocation == RevocationMode::Crl && crls.is_empty() {
        if let Some(item) = section.get("revocation") {
            item.note("names no revocation lists to look into: add `crls = [\"FILE\"]`, or write \"staple\"");
        }
    } else if revocation != RevocationMode::Crl
        && !crls.is_empty()
        && let Some(item) = section.get("crls")
    {
        item.note("is not looked into: write `revocation = \"crl\"` beside it");
    }
    let boolean = |key, default| {
        let item = section.get(key);
        item.and_then(|item| item.boolean()).unwrap_or(default)
    };
    let roots = section.list("roots", Vec::new, |text| files.path(text));
    let system_roots = boolean("system_roots", default.system_roots);
    if !system_roots
        && roots.is_empty()
        && let Some(item) = section.get("system_roots")
    {
        item.note("leaves nobody to trust: name files in `roots`");
    }
    Settings {
        system_roots,
        roots,
        revocation,
        unknown: section.choice(
            "revocation_unknown",
            default.unknown,
            &[("accept", Unknown::Accept), ("refuse", Unknown::Refuse)],
        ),
        crls,
        client_certificate: section.choice(
            "client_certificate",
            default.client_certificate,
            &[
                ("refuse", ClientCertificate::Refuse),
                ("empty", ClientCertificate::Empty),
            ],
        ),
        answer_timeout: positive(section, "answer_timeout", default.answer_timeout),
        handshake_timeout: positive(section, "handshake_timeout", default.handshake_timeout),
        sessions: count(section, "sessions", default.sessions),
        own: Vec::new(),
    }
}

pub(super) fn positive(section: &Section<'_>, key: &str, default: Duration) -> Duration {
    let duration = section.value(key, default, value::duration);
    if duration.is_zero()
        && let Some(item) = section.get(key)
    {
        item.note("expected more than \"0s\"");
    }
    duration
}
