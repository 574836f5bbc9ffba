//! A flow as a line for people, and as JSON.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use sluice_peek::NotTls;
use sluice_programs::parse::protocol;

use super::{
    record::{FlowRecord, Judged, Side},
    stream::First,
};
use crate::config::protocol_name;

/// Which flow it is.
#[derive(Serialize)]
struct Which {
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
    proto: String,
    src: String,
    sport: Option<u16>,
    dst: String,
    dport: Option<u16>,
    initiator: &'static str,
    packets: u64,
}

impl Which {
    fn of(flow: &FlowRecord, number: Option<usize>) -> Self {
        Self {
            number,
            proto: name(flow.protocol),
            src: flow.src.to_string(),
            sport: flow.sport,
            dst: flow.dst.to_string(),
            dport: flow.dport,
            initiator: flow.initiator.name(),
            packets: flow.packets,
        }
    }
}

/// What a capture shows of a flow, without what anybody makes of it.
#[derive(Serialize)]
pub struct Seen {
    #[serde(flatten)]
    which: Which,
    tls: Option<Tls>,
}

impl Seen {
    /// A flow, with its number among those of the capture, from 1, where that is to be told.
    #[must_use]
    pub fn of(flow: &FlowRecord, number: Option<usize>) -> Self {
        Self {
            which: Which::of(flow, number),
            tls: flow.first.as_ref().map(tls),
        }
    }
}

/// A flow as a replay tells it.
#[derive(Serialize)]
pub struct Told<'a> {
    #[serde(flatten)]
    which: Which,
    kernel: Option<&'static str>,
    reason: Option<&'static str>,
    tls: Option<Tls>,
    verdict: Option<&'static str>,
    rule: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// A flow, with its number as [`Seen::of`] has it.
    #[must_use]
    pub fn of(flow: &'a FlowRecord, number: Option<usize>) -> Self {
        let judged = flow.judged.as_ref();
        Self {
            which: Which::of(flow, number),
            kernel: flow.kernel.map(|(verdict, _)| verdict.name()),
            reason: flow.kernel.map(|(_, reason)| reason.name()),
            tls: flow.first.as_ref().map(tls),
            verdict: judged.map(|judged| judged.will.name()),
            rule: judged.and_then(|judged| judged.rule.as_deref()),
        }
    }
}

#[derive(Serialize)]
struct Tls {
    state: &'static str,
    sni: Option<String>,
    alpn: Vec<String>,
    ja4: Option<String>,
    ech: bool,
}

impl Side {
    /// The word in either form of output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Remote => "remote",
        }
    }
}

fn tls(first: &First) -> Tls {
    match first {
        First::Hello(hello) => Tls {
            state: "hello",
            sni: hello.sni.as_ref().map(|name| name.as_str().to_owned()),
            alpn: hello
                .alpn
                .iter()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
            ja4: Some(hello.ja4.as_str().to_owned()),
            ech: hello.ech,
        },
        First::NotTls(why) => bare(why.name()),
        First::EmptyRecordAlone => bare(NotTls::NotTls.name()),
        First::Nothing => bare("none"),
    }
}

const fn bare(state: &'static str) -> Tls {
    Tls {
        state,
        sni: None,
        alpn: Vec::new(),
        ja4: None,
        ech: false,
    }
}

/// The protocol's name as captures show it.
fn name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        protocol::IGMP => "igmp".to_owned(),
        other => protocol_name(other),
    }
}

/// The flow as one line of text: protocol, ends, packets, what the kernel said, what the client
/// sent first, what the daemon would have decided.
#[must_use]
pub fn line(flow: &FlowRecord) -> String {
    let ends = format!(
        "{} > {}",
        show(flow.src, flow.sport),
        show(flow.dst, flow.dport)
    );
    let kernel = match flow.kernel {
        Some((verdict, reason)) => format!("{} ({})", verdict.name(), reason.name()),
        None => "-".to_owned(),
    };
    let first = flow.first.as_ref().map(described).unwrap_or_default();
    let judged = match &flow.judged {
        Some(Judged {
            will,
            rule: Some(rule),
            ..
        }) => format!("{} by \"{rule}\"", will.name()),
        Some(Judged {
            will,
            decided: true,
            rule: None,
        }) => format!("{} by default", will.name()),
        Some(Judged { will, .. }) => will.name().to_owned(),
        None => String::new(),
    };
    let proto = name(flow.protocol);
    let packets = flow.packets;
    let line = format!("{proto:<6} {ends:<47} {packets:>7}  {kernel:<24}  {first:<28}  {judged}");
    line.trim_end().to_owned()
}

/// What the client sent first, in a few words.
fn described(first: &First) -> String {
    let tls = tls(first);
    let mut text = tls.state.to_owned();
    if let First::Hello(_) = first {
        text.push(' ');
        text.push_str(tls.sni.as_deref().unwrap_or("without a name"));
    }
    if tls.ech {
        text.push_str(" (ech)");
    }
    text
}

/// An end as people write it.
fn show(addr: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(addr, port).to_string(),
        None => addr.to_string(),
    }
}
