//! Who answers in the lab: ordinary servers, and the peers that a Skype-like client looks for.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
    thread,
};

use anyhow::{Context, Result};
use rustls::version::{TLS12, TLS13};
use sluice_tests::{
    family::Family,
    netns::Netns,
    peer::Peer,
    pki::Pki,
    skype::{self, Kind},
};

use crate::dns;

/// Number of the origin that serves `news.example`.
pub(crate) const NEWS: u8 = 5;
/// Number of the time server.
pub(crate) const TIME: u8 = 123;
/// Number of the peer that the Skype-like client wants to reach.
pub(crate) const PEER: u8 = 77;

/// What the origin with the news is called.
pub(crate) const fn news(family: Family) -> &'static str {
    match family {
        Family::V4 => "news.example",
        Family::V6 => "news6.example",
    }
}

/// A name of the peer's, which no Skype-like client needs.
pub(crate) const fn peer(family: Family) -> &'static str {
    match family {
        Family::V4 => "peer.example",
        Family::V6 => "peer6.example",
    }
}

/// Every name, each of one family, so that it is known which one an attempt is about.
fn zone() -> [(&'static str, IpAddr); 4] {
    let [four, six] = Family::ALL;
    [
        (news(four), four.origin(NEWS)),
        (news(six), six.origin(NEWS)),
        (peer(four), four.origin(PEER)),
        (peer(six), six.origin(PEER)),
    ]
}

/// Serves until it is killed.
pub(crate) fn run(gateway: &Netns, internet: &Netns, certificate: &Path) -> Result<ExitCode> {
    let pki = Pki::new();
    let config = pki.server(&Family::ALL.map(news), &[&TLS12, &TLS13]);
    let mut peers = Vec::new();
    for family in Family::ALL {
        let news = family.origin_at(NEWS, 443);
        peers.push(Peer::https(internet, news, &config, "the news\n"));
        // Whatever gets there is answered, so that silence is always the gateway's doing.
        peers.push(Peer::udp(internet, news, |bytes, _| Some(bytes.to_vec())));
        peers.push(Peer::udp(
            internet,
            family.origin_at(TIME, 123),
            |asked, _| time(asked),
        ));
        for attempt in skype::native(family.origin(PEER)) {
            peers.push(match attempt.kind {
                Kind::Tcp(_) => Peer::echo(internet, attempt.to),
                Kind::Udp(_) => Peer::udp(internet, attempt.to, |bytes, _| Some(bytes.to_vec())),
            });
        }
        peers.push(Peer::echo(internet, family.origin_at(PEER, 443)));
        let resolver = SocketAddr::new(family.gateway_lan(), 53);
        peers.push(Peer::udp(gateway, resolver, |asked, _| {
            dns::answer(asked, &zone())
        }));
    }
    // It appears when all of the above stands, whole.
    let draft = certificate.with_extension("draft");
    fs::write(&draft, pki.pem()).context("writing the certificate")?;
    fs::rename(&draft, certificate).context("writing the certificate")?;
    loop {
        thread::park();
    }
}

/// A time server's answer (RFC 5905 section 7.3) to a client that asks in version 4.
fn time(asked: &[u8]) -> Option<Vec<u8>> {
    let sent = asked.get(40..48).filter(|_| asked.first() == Some(&0x23))?;
    let mut bytes = vec![0x24, 1, 0, 0];
    bytes.resize(24, 0);
    // The client's own time comes back as the origin timestamp.
    bytes.extend(sent);
    bytes.resize(48, 0);
    Some(bytes)
}
