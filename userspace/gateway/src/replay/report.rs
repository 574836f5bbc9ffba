//! A flow as a line for people, and as JSON.

use serde::Serialize;
use sluice_peek::NotTls;
use sluice_policy::Outcome;
use sluice_programs::parse::protocol;

use super::{
    flows::{FlowRecord, Side, show},
    stream::First,
};
use crate::config::protocol_name;

#[derive(Serialize)]
struct Json<'a> {
    proto: String,
    src: String,
    sport: Option<u16>,
    dst: String,
    dport: Option<u16>,
    initiator: &'static str,
    packets: u64,
    kernel: Option<&'static str>,
    reason: Option<&'static str>,
    tls: Option<Tls>,
    verdict: Option<&'static str>,
    rule: Option<&'a str>,
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
            alpn: hello.alpn.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            ja4: Some(hello.ja4.as_str().to_owned()),
            ech: hello.ech,
        },
        First::NotTls(why) => bare(why.name()),
        First::EmptyRecordAlone => bare(NotTls::NotTls.name()),
        First::Nothing => bare("none"),
    }
}

const fn bare(state: &'static str) -> Tls {
    Tls { state, sni: None, alpn: Vec::new(), ja4: None, ech: false }
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

const fn verdict(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Block(_) => "block",
        Outcome::Allow | Outcome::Splice => "splice",
    }
}

/// The flow as one JSON object, without a line end.
#[must_use]
pub fn json(flow: &FlowRecord) -> String {
    let json = Json {
        proto: name(flow.protocol),
        src: flow.src.to_string(),
        sport: flow.sport,
        dst: flow.dst.to_string(),
        dport: flow.dport,
        initiator: flow.initiator.name(),
        packets: flow.packets,
        kernel: flow.kernel.map(|(verdict, _)| verdict.name()),
        reason: flow.kernel.map(|(_, reason)| reason.name()),
        tls: flow.first.as_ref().map(tls),
        verdict: flow.judged.as_ref().map(|judged| verdict(judged.outcome)),
        rule: flow.judged.as_ref().and_then(|judged| judged.rule.as_deref()),
    };
    // Strings, numbers and booleans always serialise.
    serde_json::to_string(&json).unwrap_or_default()
}

/// The flow as one line of text.
#[must_use]
pub fn line(flow: &FlowRecord) -> String {
    let ends = format!("{} > {}", show(flow.src, flow.sport), show(flow.dst, flow.dport));
    let kernel = match flow.kernel {
        Some((verdict, reason)) => format!("{} ({})", verdict.name(), reason.name()),
        None => "does not cross the gateway".to_owned(),
    };
    let mut line = format!(
        "{:<5} {ends:<50} {:>6} packets  {kernel:<24}",
        name(flow.protocol),
        flow.packets
    );
    if let Some(first) = &flow.first {
        let tls = tls(first);
        line.push_str(&format!("  {}", tls.state));
        if let Some(sni) = tls.sni {
            line.push_str(&format!(" {sni}"));
        }
        if tls.ech {
            line.push_str(" ech");
        }
    }
    if let Some(judged) = &flow.judged {
        let by = judged.rule.as_deref().map_or("default".to_owned(), |rule| format!("\"{rule}\""));
        line.push_str(&format!("  {} by {by}", verdict(judged.outcome)));
    }
    line.trim_end().to_owned()
}
