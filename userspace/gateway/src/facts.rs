//! First bytes to facts: the one translation that the daemon and the replay share.

use sluice_peek::{Hello, NotTls};
use sluice_policy::{Alpn, Facts, FirstBytes, NotNegotiated};

/// The facts of a flow that began with a genuine ClientHello.
#[must_use]
pub fn of_hello<'a>(opened: Facts<'a>, hello: &'a Hello) -> Facts<'a> {
    opened.with_first_bytes(FirstBytes::Hello(sluice_policy::Hello {
        host: hello.sni.as_ref().map(|name| name.as_str()),
        alpn: match hello.alpn.as_wire() {
            [] => Alpn::ABSENT,
            list => Alpn::from_wire(list),
        },
        ja4: hello.ja4.as_str(),
        ech: hello.ech,
    }))
}

/// The facts of a flow that did not begin with TLS.
#[must_use]
pub const fn of_not_tls(opened: Facts<'_>, why: NotTls) -> Facts<'_> {
    opened.with_first_bytes(FirstBytes::Other(not_negotiated(why)))
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
