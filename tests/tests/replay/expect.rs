//! One line of output as a test expects it.

use std::net::{IpAddr, SocketAddr};

/// The rule of the recipe that stops what is not TLS.
pub(crate) const SKYPE: Judged = Judged("block", Some("Skype, except for the Allow Skype group"));
/// The rule of the recipe that lets members send what is not TLS.
pub(crate) const MEMBER: Judged = Judged(
    "splice",
    Some("Allow Skype members may send what is not TLS"),
);
/// The rule of the recipe that lets members name no server.
pub(crate) const NAMELESS_MEMBER: Judged =
    Judged("splice", Some("Allow Skype members may name no server"));
/// It hangs on the origin's answer to the hello, which is not there.
pub(crate) const UNANSWERED: Judged = Judged("undecided", None);
/// No rule decides, the client names its server, and the origin takes up its TLS.
pub(crate) const SPLICE: Judged = Judged("splice", None);
/// No rule decides, and the client names nobody.
pub(crate) const BLOCK: Judged = Judged("block", None);

/// A verdict of the daemon's and the rule behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged(pub(crate) &'static str, pub(crate) Option<&'static str>);

/// What `tls` says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls {
    Null,
    State(&'static str),
    Hello {
        sni: Option<&'static str>,
        alpn: &'static [&'static str],
    },
}

/// An end of a flow: a socket, or an address of a protocol without ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End(IpAddr, Option<u16>);

impl From<SocketAddr> for End {
    fn from(socket: SocketAddr) -> Self {
        Self(socket.ip(), Some(socket.port()))
    }
}

impl From<IpAddr> for End {
    fn from(addr: IpAddr) -> Self {
        Self(addr, None)
    }
}

/// One flow.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    proto: &'static str,
    src: End,
    dst: End,
    initiator: &'static str,
    packets: u64,
    kernel: Option<(&'static str, &'static str)>,
    tls: Tls,
    judged: Option<Judged>,
}

impl Line {
    /// A flow that a client began with this many packets and that does not cross the gateway.
    pub(crate) fn new(
        proto: &'static str,
        src: impl Into<End>,
        dst: impl Into<End>,
        packets: u64,
    ) -> Self {
        Self {
            proto,
            src: src.into(),
            dst: dst.into(),
            initiator: "client",
            packets,
            kernel: None,
            tls: Tls::Null,
            judged: None,
        }
    }

    /// It was begun from outside.
    pub(crate) fn remote(mut self) -> Self {
        self.initiator = "remote";
        self
    }

    /// What the kernel programs say.
    pub(crate) fn kernel(mut self, verdict: &'static str, reason: &'static str) -> Self {
        self.kernel = Some((verdict, reason));
        self
    }

    /// The client's first bytes are no hello, but this.
    pub(crate) fn state(mut self, state: &'static str) -> Self {
        self.tls = Tls::State(state);
        self
    }

    /// The client's first bytes are a hello.
    pub(crate) fn hello(
        mut self,
        sni: Option<&'static str>,
        alpn: &'static [&'static str],
    ) -> Self {
        self.tls = Tls::Hello { sni, alpn };
        self
    }

    /// Steered, and this is what the daemon decides.
    pub(crate) fn steered(self, judged: Judged) -> Self {
        let mut line = self.kernel("steer", "steered");
        line.judged = Some(judged);
        line
    }

    /// The line of `--json`, key by key in the order that readers may rely on, with the fingerprint
    /// of the hello that `actual` holds: whether that is right is not what these tests ask.
    pub(crate) fn json(&self, actual: &str) -> String {
        let port = |port: Option<u16>| port.map_or("null".to_owned(), |port| port.to_string());
        let text =
            |text: Option<&str>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
        let tls = match self.tls {
            Tls::Null => "null".to_owned(),
            Tls::State(state) => {
                format!(r#"{{"state":"{state}","sni":null,"alpn":[],"ja4":null,"ech":false}}"#)
            }
            Tls::Hello { sni, alpn } => {
                let names: Vec<_> = alpn.iter().map(|name| format!("\"{name}\"")).collect();
                format!(
                    r#"{{"state":"hello","sni":{},"alpn":[{}],"ja4":"{}","ech":false}}"#,
                    text(sni),
                    names.join(","),
                    ja4(actual, sni.is_some()),
                )
            }
        };
        let Judged(verdict, rule) = self.judged.unwrap_or(Judged("", None));
        format!(
            r#"{{"proto":"{}","src":"{}","sport":{},"dst":"{}","dport":{},"initiator":"{}","packets":{},"kernel":{},"reason":{},"tls":{tls},"verdict":{},"rule":{}}}"#,
            self.proto,
            self.src.0,
            port(self.src.1),
            self.dst.0,
            port(self.dst.1),
            self.initiator,
            self.packets,
            text(self.kernel.map(|(verdict, _)| verdict)),
            text(self.kernel.map(|(_, reason)| reason)),
            text(self.judged.map(|_| verdict)),
            text(rule),
        )
    }
}

/// The fingerprint in a line, if it is one of TLS 1.3 over TCP with or without a name.
fn ja4(line: &str, named: bool) -> &str {
    let start = if named { "t13d" } else { "t13i" };
    let value = line
        .split("\"ja4\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    match value {
        Some(value) if value.starts_with(start) && value.len() == 36 => value,
        _ => "a fingerprint",
    }
}

/// Compares every line, and shows all that differ.
pub(crate) fn compare(actual: &[String], expected: &[(String, Line)]) {
    let mut wrong = Vec::new();
    for (index, (name, line)) in expected.iter().enumerate() {
        let got = actual.get(index).map_or("no line", String::as_str);
        let wanted = line.json(got);
        if got != wanted {
            wrong.push(format!("{name}\n  expected {wanted}\n  got      {got}"));
        }
    }
    for line in actual.iter().skip(expected.len()) {
        wrong.push(format!("nothing expected\n  got      {line}"));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} lines:\n{}",
        wrong.len(),
        expected.len(),
        wrong.join("\n")
    );
}
