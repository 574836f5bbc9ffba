//! The flows of a capture, and what became of them.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sluice_abi::{FlowEntry, Hook, Reason, Verdict};
use sluice_peek::{Hello, NotTls};
use sluice_policy::{BlockKind, Cause, Decision, Facts, Outcome};
use sluice_programs::{
    Packet,
    parse::{Fragment, protocol, tcp},
};
use sluice_steer::TestBench;

use super::{
    ReplayError, Topology,
    capture::Captured,
    frame,
    stream::{First, Stream},
};
use crate::{config::Config, facts};

/// Least bytes that BPF_PROG_TEST_RUN takes of an IPv4 and of an IPv6 frame.
const LEAST_V4: usize = 34;
const LEAST_V6: usize = 54;

/// Who began a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Somebody behind the gateway.
    Client,
    /// Somebody else.
    Remote,
}

/// What the daemon would have done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// What becomes of the flow.
    pub outcome: Outcome,
    /// The rule that decides, or `None` for a default.
    pub rule: Option<String>,
}

/// One flow of a capture.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Transport protocol number.
    pub protocol: u8,
    /// The initiator's address.
    pub src: IpAddr,
    /// The initiator's port, for protocols that have ports.
    pub sport: Option<u16>,
    /// The other side's address.
    pub dst: IpAddr,
    /// The other side's port.
    pub dport: Option<u16>,
    /// Which side the initiator is on.
    pub initiator: Side,
    /// Packets of either direction.
    pub packets: u64,
    /// What the kernel programs said of the first packet that crosses the LAN device; `None` where
    /// none does.
    pub kernel: Option<(Verdict, Reason)>,
    /// What the client's first bytes are; `None` where the flow is not TCP.
    pub first: Option<First>,
    /// What the daemon would have done with a steered flow.
    pub judged: Option<Judged>,
}

/// One end of a flow.
type End = (IpAddr, Option<u16>);
type Key = (u8, End, End);

struct Flow {
    record: FlowRecord,
    seen: Duration,
    begun_by_syn: bool,
    replied: bool,
    ended: bool,
    server_spoke: bool,
    stream: Option<(End, Stream)>,
}

/// Gathers packets into flows and lets the kernel judge them.
pub(super) struct Flows<'a> {
    bench: &'a mut TestBench,
    topology: &'a Topology,
    hello_limit: usize,
    flows: Vec<Flow>,
    current: HashMap<Key, usize>,
    fragments: HashMap<(IpAddr, IpAddr, u32), Key>,
    clock: Duration,
}

impl<'a> Flows<'a> {
    pub(super) fn new(bench: &'a mut TestBench, topology: &'a Topology, hello_limit: usize) -> Self {
        Self {
            bench,
            topology,
            hello_limit,
            flows: Vec::new(),
            current: HashMap::new(),
            fragments: HashMap::new(),
            clock: Duration::ZERO,
        }
    }

    /// Takes the next packet of the capture.
    pub(super) fn packet(&mut self, captured: &Captured) -> Result<(), ReplayError> {
        // The programs' clock never runs backwards, the clock of a capture may.
        self.clock = self.clock.max(captured.time);
        let Some(bytes) = frame::ethernet(captured) else { return Ok(()) };
        match frame::parse(&bytes) {
            Ok(packet) => self.parsed(captured, &bytes, &packet),
            Err(Reason::NotIp) => Ok(()),
            Err(reason) => self.broken(captured, &bytes, reason),
        }
    }

    fn parsed(
        &mut self,
        captured: &Captured,
        bytes: &[u8],
        packet: &Packet,
    ) -> Result<(), ReplayError> {
        let src = packet.src.to_ip();
        let dst = packet.dst.to_ip();
        let ported = packet.fragment != Fragment::Later
            && matches!(packet.protocol, protocol::TCP | protocol::UDP);
        let port = |raw: u16| ported.then(|| u16::from_be(raw));
        let from = (src, port(packet.sport));
        let to = (dst, port(packet.dport));
        let datagram = (src, dst, packet.fragment_id);
        let mut key = key(packet.protocol, from, to);
        match packet.fragment {
            Fragment::Whole => {}
            Fragment::First => {
                self.fragments.insert(datagram, key);
            }
            Fragment::Later => key = self.fragments.get(&datagram).copied().unwrap_or(key),
        }
        let index = self.flow(key, packet, from, to);
        self.follow(index, bytes, packet, from);
        let Some(hook) = self.crossing(src, dst) else { return Ok(()) };
        if hook == Hook::LanEgress && self.is_steered(index) {
            // In a gateway the daemon's own socket would send this.
            return Ok(());
        }
        let mut judged = None;
        for piece in frame::pieces(bytes, packet) {
            let verdict = self.run(captured, hook, &piece)?;
            judged.get_or_insert(verdict);
        }
        self.note(index, judged);
        Ok(())
    }

    /// A packet whose headers do not parse still belongs to whom its addresses name.
    fn broken(
        &mut self,
        captured: &Captured,
        bytes: &[u8],
        reason: Reason,
    ) -> Result<(), ReplayError> {
        let Some((src, dst, number)) = frame::addresses(bytes) else { return Ok(()) };
        let from = (src, None);
        let to = (dst, None);
        let mut packet = Packet::EMPTY;
        packet.protocol = number;
        packet.fragment = Fragment::Later;
        let index = self.flow(key(number, from, to), &packet, from, to);
        let Some(hook) = self.crossing(src, dst) else { return Ok(()) };
        let least = if src.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
        let short = bytes.get(..bytes.len().min(3000)).unwrap_or_default();
        let judged = if bytes.len() < least {
            (Verdict::Drop, reason)
        } else {
            self.run(captured, hook, short)?
        };
        self.note(index, Some(judged));
        Ok(())
    }

    fn run(
        &mut self,
        captured: &Captured,
        hook: Hook,
        frame: &[u8],
    ) -> Result<(Verdict, Reason), ReplayError> {
        let now = u64::try_from(self.clock.as_nanos()).unwrap_or(u64::MAX);
        let number = captured.number;
        self.bench
            .run(hook, frame, 0, now)
            .map_err(|source| ReplayError::Packet { number, source })
    }

    /// Which program sees a packet, if any does.
    fn crossing(&self, src: IpAddr, dst: IpAddr) -> Option<Hook> {
        match (self.topology.is_client(src), self.topology.is_client(dst)) {
            (true, false) => Some(Hook::LanIngress),
            (false, true) => Some(Hook::LanEgress),
            _ => None,
        }
    }

    fn note(&mut self, index: usize, judged: Option<(Verdict, Reason)>) {
        if let Some(flow) = self.flows.get_mut(index)
            && flow.record.kernel.is_none()
        {
            flow.record.kernel = judged;
        }
    }

    fn is_steered(&self, index: usize) -> bool {
        let kernel = self.flows.get(index).and_then(|flow| flow.record.kernel);
        matches!(kernel, Some((Verdict::Steer, _)))
    }

    /// The flow of a packet, new where it is the first or reopens an ended one.
    fn flow(&mut self, key: Key, packet: &Packet, from: End, to: End) -> usize {
        if let Some(&index) = self.current.get(&key)
            && let Some(flow) = self.flows.get(index)
            && !(packet.is_syn() && (flow.ended || flow.is_expired(self.clock)))
        {
            return index;
        }
        let initiator =
            if self.topology.is_client(from.0) { Side::Client } else { Side::Remote };
        let stream = (packet.protocol == protocol::TCP).then(|| {
            let client = if self.topology.is_client(to.0) && initiator == Side::Remote {
                to
            } else {
                from
            };
            (client, Stream::new(self.hello_limit))
        });
        self.flows.push(Flow {
            record: FlowRecord {
                protocol: packet.protocol,
                src: from.0,
                sport: from.1,
                dst: to.0,
                dport: to.1,
                initiator,
                packets: 0,
                kernel: None,
                first: None,
                judged: None,
            },
            seen: self.clock,
            begun_by_syn: false,
            replied: false,
            ended: false,
            server_spoke: false,
            stream,
        });
        let index = self.flows.len() - 1;
        self.current.insert(key, index);
        index
    }

    /// Counts the packet and follows the connection.
    fn follow(&mut self, index: usize, bytes: &[u8], packet: &Packet, from: End) {
        let limit = self.hello_limit;
        let from_client = self.topology.is_client(from.0);
        let clock = self.clock;
        let Some(flow) = self.flows.get_mut(index) else { return };
        flow.record.packets += 1;
        flow.seen = clock;
        let initiator = (flow.record.src, flow.record.sport);
        if packet.protocol != protocol::TCP || packet.fragment == Fragment::Later {
            return;
        }
        if packet.is_syn() && !flow.begun_by_syn {
            flow.begun_by_syn = true;
            if from != initiator {
                let record = &mut flow.record;
                (record.dst, record.dport) = initiator;
                (record.src, record.sport) = from;
            }
            flow.record.initiator = if from_client { Side::Client } else { Side::Remote };
            flow.stream = Some((from, Stream::new(limit)));
        }
        flow.replied |= from != (flow.record.src, flow.record.sport);
        flow.ended |= packet.tcp_flags & (tcp::FIN | tcp::RST) != 0;
        let payload = frame::payload(bytes, packet);
        let sequence = frame::sequence(bytes, packet).unwrap_or(0);
        if let Some((client, stream)) = &mut flow.stream {
            if *client != from {
                flow.server_spoke |= !payload.is_empty();
                return;
            }
            if packet.is_syn() {
                stream.begin(sequence);
            }
            stream.segment(sequence, payload);
            if packet.tcp_flags & tcp::FIN != 0 {
                stream.end();
            }
        }
    }

    /// Ends every flow and lets the policy decide those that the kernel would have steered.
    pub(super) fn finish(self, config: &Config) -> Vec<FlowRecord> {
        self.flows.into_iter().map(|flow| flow.finish(config)).collect()
    }
}

impl Flow {
    /// Whether the kernel would have forgotten the flow.
    fn is_expired(&self, now: Duration) -> bool {
        let flags = if self.replied { FlowEntry::FLAG_REPLIED } else { 0 };
        let entry = FlowEntry { seen: 0, generation: 0, flags };
        let silent = u64::try_from(now.saturating_sub(self.seen).as_nanos()).unwrap_or(u64::MAX);
        entry.is_expired(self.record.protocol, silent)
    }

    fn finish(self, config: &Config) -> FlowRecord {
        let mut record = self.record;
        let server_spoke = self.server_spoke;
        record.first = self.stream.map(|(_, stream)| match stream.finish() {
            First::Nothing if server_spoke => First::NotTls(NotTls::ServerFirst),
            first => first,
        });
        if let Some((Verdict::Steer, _)) = record.kernel {
            record.judged = judge(&record, config);
        }
        record
    }
}

/// What the daemon decides at the hello stage: the same policy, the same facts.
fn judge(record: &FlowRecord, config: &Config) -> Option<Judged> {
    let opened = Facts::opened(record.src, record.dst, record.dport?);
    let decision = match record.first.as_ref()? {
        First::Hello(hello) => decide_hello(config, opened, hello),
        First::NotTls(why) => config.policy.decide(&facts::of_not_tls(opened, *why)),
        First::EmptyRecordAlone => {
            config.policy.decide(&facts::of_not_tls(opened, NotTls::ZeroLengthRecord))
        }
        // A client that sends nothing is told apart from one that is slow when its time is up.
        First::Nothing => config.policy.decide(&facts::of_not_tls(opened, NotTls::Silent)),
    };
    let Decision::Decided(decided) = decision else {
        // A flow that hangs on what cannot be known is blocked.
        return Some(Judged { outcome: Outcome::Block(BlockKind::Alert), rule: None });
    };
    let rule = match decided.cause {
        Cause::Rule(id) => config.policy.rule(id).map(|rule| rule.name.to_string()),
        Cause::Default | Cause::DefaultUnidentified => None,
    };
    Some(Judged { outcome: decided.outcome, rule })
}

fn decide_hello(config: &Config, opened: Facts<'_>, hello: &Hello) -> Decision {
    config.policy.decide(&facts::of_hello(opened, hello))
}

fn key(protocol: u8, from: End, to: End) -> Key {
    if from <= to { (protocol, from, to) } else { (protocol, to, from) }
}

/// An end as people write it.
pub(super) fn show(addr: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(addr, port).to_string(),
        None => addr.to_string(),
    }
}
