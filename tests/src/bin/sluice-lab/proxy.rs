//! What is tried by the proxy: what the Skype-like client falls back to last.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sluice_tests::{
    dial::Outcome,
    family::Family,
    hello,
    netns::Netns,
    proxied::{Connect, Told},
    recipe::{ALICE, BOB, MALLORY, PORT},
};

use crate::{attempt::Expected, serve};

/// A tunnel that somebody asks for.
pub(crate) struct Through {
    pub(crate) what: &'static str,
    /// Whether the client's address is in the group.
    pub(crate) is_member: bool,
    connect: Connect,
}

type Row = (Through, Expected, &'static [&'static str]);

/// Every tunnel of a family, in the order in which they are tried.
pub(crate) fn tunnels(family: Family) -> Vec<Row> {
    const BROWSER: Option<&str> = Some("Mozilla/5.0");
    const UNIDENTIFIED: Expected =
        Expected::Page("unidentified software may not tunnel, except for the Allow Skype group");
    const NO_NAME: Expected =
        Expected::Page("tunnels lead to names, except for the Allow Skype group");
    let address = SocketAddr::new(family.origin(serve::PEER), 443).to_string();
    let name = format!("{}:443", serve::peer(family));
    let tunnel = |what, to: &str, user_agent, credentials: Option<&'static str>| Through {
        what,
        is_member: credentials.is_none(),
        connect: Connect {
            to: to.to_owned(),
            user_agent,
            credentials,
        },
    };
    let stranger = Through {
        is_member: false,
        ..tunnel(
            "CONNECT without User-Agent, no password",
            &address,
            None,
            None,
        )
    };
    vec![
        (stranger, Expected::Asked, &["no-credentials"]),
        (
            tunnel(
                "CONNECT without User-Agent, as bob",
                &address,
                None,
                Some(BOB),
            ),
            UNIDENTIFIED,
            &["rule"],
        ),
        (
            tunnel(
                "CONNECT to a bare address, as bob",
                &address,
                BROWSER,
                Some(BOB),
            ),
            NO_NAME,
            &["rule"],
        ),
        (
            tunnel(
                "SSLv2-format hello in a tunnel, as bob",
                &name,
                BROWSER,
                Some(BOB),
            ),
            Expected::Refused,
            &["sslv2-hello"],
        ),
        (
            tunnel(
                "SSLv2-format hello in a tunnel, as alice",
                &address,
                None,
                Some(ALICE),
            ),
            Expected::Served,
            &["sslv2-hello"],
        ),
        (
            tunnel("SSLv2-format hello in a tunnel", &address, None, None),
            Expected::Served,
            &["sslv2-hello"],
        ),
        (
            tunnel(
                "CONNECT as alice, wrong password",
                &address,
                None,
                Some(MALLORY),
            ),
            Expected::Asked,
            &["no-credentials"],
        ),
    ]
}

impl Through {
    pub(crate) fn attempt(
        &self,
        netns: &Netns,
        from: IpAddr,
        family: Family,
        timeout: Duration,
    ) -> (Outcome, Duration) {
        let proxy = SocketAddr::new(family.gateway_lan(), PORT);
        let (told, time) = self
            .connect
            .attempt(netns, (from, proxy), &hello::sslv2(), timeout);
        let outcome = match told {
            Told::Tunnel(outcome) | Told::Nothing(outcome) => outcome,
            Told::Answer(_, answer) => Outcome::Answered(answer.into_bytes()),
        };
        (outcome, time)
    }
}

/// The status of an answer of HTTP/1.
pub(crate) fn status(bytes: &[u8]) -> Option<u16> {
    let text = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether an answer has a text in it.
pub(crate) fn says(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}
