//! One line of the demo: what is tried, and how it is to end.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use sluice_tests::{
    dial::{self, Outcome},
    family::Family,
    hello, recipe,
    skype::{self, Attempt},
};

use crate::{
    dns,
    proxy::{self, Through},
    serve,
    world::World,
};

/// How long a client waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the client listens for what was sent to it unasked.
const LISTEN: Duration = Duration::from_millis(400);

/// How an attempt is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// The client gets its answer from the origin.
    Served,
    /// The client is told at once that it must not.
    Refused,
    /// Nothing comes, and nothing may.
    Silent,
    /// The proxy asks for a password.
    Asked,
    /// The proxy shows the Blocked page, which names this rule.
    Page(&'static str),
}

/// What is tried.
pub(crate) enum Trial {
    /// A step of the Skype-like client.
    Skype(Attempt),
    /// A datagram from a peer to the port on which the client listens.
    Inbound,
    /// curl, with this version of TLS.
    Curl(&'static str),
    /// curl, by the proxy.
    CurlByProxy,
    /// A tunnel by the proxy.
    Tunnel(Through),
    /// A QUIC Initial.
    Quic,
    /// A question to a time server.
    Ntp,
    /// A question to the gateway's name server.
    Dns,
}

/// One line of the demo.
pub(crate) struct Line {
    pub(crate) family: Family,
    pub(crate) from: IpAddr,
    pub(crate) trial: Trial,
    pub(crate) expected: Expected,
    /// Words of which one must be among the reasons that the metrics counted.
    pub(crate) reasons: &'static [&'static str],
}

impl Line {
    /// Everything that is shown for a family.
    pub(crate) fn all(family: Family) -> Vec<Self> {
        let (member, other) = (family.member(), family.other());
        let peer = family.origin(serve::PEER);
        let line = |from, trial, expected, reasons| Self {
            family,
            from,
            trial,
            expected,
            reasons,
        };
        let [tcp, udp, not_quic]: [&'static [&'static str]; 3] =
            [&["native-tcp"], &["native-udp"], &["not-quic"]];
        let mut lines: Vec<Self> = skype::native(peer)
            .into_iter()
            .zip([tcp, udp, not_quic])
            .map(|(step, reasons)| line(other, Trial::Skype(step), Expected::Refused, reasons))
            .collect();
        lines.push(line(
            other,
            Trial::Inbound,
            Expected::Silent,
            &["inbound-udp"],
        ));
        let on_443: [&'static [&'static str]; 3] = [
            &["sslv2-hello"],
            &["zero-length-record"],
            &["default-unidentified"],
        ];
        for (step, reasons) in skype::fallback(peer).into_iter().zip(on_443) {
            lines.push(line(other, Trial::Skype(step), Expected::Refused, reasons));
        }
        if let Some(step) = skype::fallback(peer).into_iter().next() {
            lines.push(line(
                member,
                Trial::Skype(step),
                Expected::Served,
                &["sslv2-hello"],
            ));
        }
        // Before the mistakes, which make their address wait.
        lines.push(line(
            other,
            Trial::CurlByProxy,
            Expected::Served,
            &["default"],
        ));
        lines.extend(
            proxy::tunnels(family)
                .into_iter()
                .map(|(through, expected, reasons)| {
                    let from = if through.is_member { member } else { other };
                    line(from, Trial::Tunnel(through), expected, reasons)
                }),
        );
        lines.push(line(other, Trial::Quic, Expected::Refused, &["quic"]));
        lines.push(line(
            other,
            Trial::Curl("1.2"),
            Expected::Served,
            &["default"],
        ));
        lines.push(line(
            other,
            Trial::Curl("1.3"),
            Expected::Served,
            &["default"],
        ));
        lines.push(line(other, Trial::Ntp, Expected::Served, &["listed"]));
        lines.push(line(other, Trial::Dns, Expected::Served, &["to-gateway"]));
        lines
    }

    /// Who tries what.
    pub(crate) fn title(&self) -> String {
        let what = match &self.trial {
            Trial::Skype(step) => step.what,
            Trial::Inbound => "UDP from a peer to its own port",
            Trial::Curl("1.2") => "curl, HTTPS over TLS 1.2",
            Trial::Curl(_) => "curl, HTTPS over TLS 1.3",
            Trial::CurlByProxy => "curl by the proxy, as bob",
            Trial::Tunnel(through) => through.what,
            Trial::Quic => "QUIC Initial on UDP 443",
            Trial::Ntp => "NTP",
            Trial::Dns => "DNS at the gateway",
        };
        let who = if self.from == self.family.member() {
            ", group member"
        } else {
            ""
        };
        format!("{what}{who}")
    }

    /// Tries it.
    pub(crate) fn attempt(&self, world: &World) -> (Outcome, Duration) {
        let ask = |to, bytes: &[u8]| dial::ask(world.lab.client(), self.from, to, bytes, PATIENCE);
        let at = |number, port| self.family.origin_at(number, port);
        match &self.trial {
            Trial::Skype(step) => step.make(world.lab.client(), self.from, PATIENCE),
            Trial::Inbound => self.inbound(world),
            Trial::Curl(version) => self.curl(world, &self.directly(version)),
            Trial::CurlByProxy => self.curl(world, &self.by_proxy()),
            Trial::Tunnel(through) => {
                through.attempt(world.lab.client(), self.from, self.family, PATIENCE)
            }
            Trial::Quic => ask(at(serve::NEWS, 443), &hello::quic_initial()),
            Trial::Ntp => {
                let mut bytes = vec![0x23];
                bytes.resize(48, 0);
                ask(at(serve::TIME, 123), &bytes)
            }
            Trial::Dns => {
                let resolver = SocketAddr::new(self.family.gateway_lan(), 53);
                ask(resolver, &dns::question(0x5313, "news.example"))
            }
        }
    }

    /// Whether an attempt ended as it is to end.
    pub(crate) fn is_as_expected(&self, outcome: &Outcome) -> bool {
        match (self.expected, outcome) {
            (Expected::Served, Outcome::Answered(bytes)) => {
                bytes.first() != Some(&21) && proxy::status(bytes).is_none()
            }
            (Expected::Asked, Outcome::Answered(bytes)) => {
                proxy::status(bytes) == Some(407) && proxy::says(bytes, "Basic realm=")
            }
            (Expected::Page(rule), Outcome::Answered(bytes)) => {
                proxy::status(bytes) == Some(403) && proxy::says(bytes, rule)
            }
            // An alert (a record of type 21) is sluice's answer, not the origin's.
            (Expected::Refused, Outcome::Answered(bytes)) => bytes.first() == Some(&21),
            (Expected::Refused, outcome) => matches!(
                outcome,
                Outcome::Refused | Outcome::Prohibited | Outcome::Reset | Outcome::Closed
            ),
            (Expected::Silent, outcome) => *outcome == Outcome::Silence,
            (Expected::Served | Expected::Asked | Expected::Page(_), _) => false,
        }
    }

    fn inbound(&self, world: &World) -> (Outcome, Duration) {
        let port = SocketAddr::new(self.from, 33_555);
        let peer = self.family.origin_at(serve::PEER, 33_034);
        let begin = Instant::now();
        let received = world
            .lab
            .client()
            .run(|| UdpSocket::bind(port))
            .and_then(|listener| {
                listener.set_read_timeout(Some(LISTEN))?;
                let sender = world.lab.internet().run(|| UdpSocket::bind(peer))?;
                sender.send_to(&skype::native_datagram(), port)?;
                let mut bytes = vec![0; 2048];
                let length = listener.recv(&mut bytes)?;
                bytes.truncate(length);
                Ok(bytes)
            });
        let outcome = received.map_or_else(|error| Outcome::of_error(&error), Outcome::Answered);
        (outcome, begin.elapsed())
    }

    /// What curl is told that goes to the origin by itself.
    fn directly(&self, version: &str) -> Vec<String> {
        let origin = bracketed(self.family.origin(serve::NEWS));
        let name = serve::news(self.family);
        [
            "--resolve",
            &format!("{name}:443:{origin}"),
            &format!("--tlsv{version}"),
            "--tls-max",
            version,
        ]
        .map(str::to_owned)
        .into()
    }

    /// What curl is told that asks the proxy.
    fn by_proxy(&self) -> Vec<String> {
        let gateway = bracketed(self.family.gateway_lan());
        [
            "--proxy",
            &format!("http://{gateway}:{}", recipe::PORT),
            "--proxy-user",
            recipe::BOB_LOGIN,
        ]
        .map(str::to_owned)
        .into()
    }

    fn curl(&self, world: &World, way: &[String]) -> (Outcome, Duration) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "5"])
            .args(["--interface", &self.from.to_string()])
            .args(way)
            .arg("--cacert")
            .arg(world.certificate())
            .args(["--write-out", "%{stderr}%{time_total}"])
            .arg(format!("https://{}/", serve::news(self.family)));
        let begin = Instant::now();
        let output = world.lab.client().output(&mut curl);
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let why = said.lines().next().unwrap_or("curl failed").to_owned();
            return (Outcome::Failed(why), begin.elapsed());
        }
        let time = said
            .trim()
            .parse()
            .map_or(begin.elapsed(), Duration::from_secs_f64);
        (Outcome::Answered(output.stdout), time)
    }
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() {
        format!("[{address}]")
    } else {
        address.to_string()
    }
}
