//! The flows of a capture, and what became of them.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use sluice_abi::{FlowEntry, Hook, Reason, Verdict, flow::FragmentEntry};
use sluice_peek::NotTls;
use sluice_programs::{
    Packet,
    parse::{protocol, tcp},
};
use sluice_steer::TestBench;

use super::{
    ReplayError, Topology,
    answer::Answers,
    capture::Captured,
    frame::{self, Frame, Outline, Part},
    record::{FlowRecord, Known, Side},
    stream::{First, Stream},
};
use crate::config::Config;

/// Least bytes that BPF_PROG_TEST_RUN takes of any frame, of an IPv4 and of an IPv6 frame.
const LEAST: usize = 14;
const LEAST_V4: usize = 34;
const LEAST_V6: usize = 54;

/// One end of a flow.
type End = (IpAddr, Option<u16>);
type Key = (u8, End, End);

/// Who sent a packet to whom.
#[derive(Clone, Copy)]
struct Ends {
    protocol: u8,
    from: End,
    to: End,
}

impl Ends {
    fn of(outline: &Outline) -> Self {
        Self {
            protocol: outline.protocol,
            from: (outline.src, outline.ports.map(|(port, _)| port)),
            to: (outline.dst, outline.ports.map(|(_, port)| port)),
        }
    }

    /// The same for both directions.
    fn key(self) -> Key {
        (
            self.protocol,
            self.from.min(self.to),
            self.from.max(self.to),
        )
    }
}

/// Addresses, identification and, in IPv4, protocol: what the fragments of a datagram share.
type DatagramKey = (IpAddr, IpAddr, u32, u8);

/// A datagram whose first fragment was seen.
struct Datagram {
    ends: Ends,
    seen: Duration,
    /// Sequence number that a TCP byte at the very front of the datagram would have.
    sequence: Option<u32>,
}

struct Flow {
    record: FlowRecord,
    seen: Duration,
    begun_by_syn: bool,
    replied: bool,
    ended: bool,
    server_spoke: bool,
    stream: Option<(End, Stream)>,
    answers: Answers,
}

/// Gathers packets into flows and lets the kernel judge them.
pub(super) struct Flows<'a> {
    bench: &'a mut TestBench,
    topology: &'a Topology,
    hello_limit: usize,
    flows: Vec<Flow>,
    current: HashMap<Key, usize>,
    datagrams: HashMap<DatagramKey, Datagram>,
    clock: Duration,
}

impl<'a> Flows<'a> {
    pub(super) fn new(
        bench: &'a mut TestBench,
        topology: &'a Topology,
        hello_limit: usize,
    ) -> Self {
        Self {
            bench,
            topology,
            hello_limit,
            flows: Vec::new(),
            current: HashMap::new(),
            datagrams: HashMap::new(),
            clock: Duration::ZERO,
        }
    }

    /// Takes the next packet of the capture.
    pub(super) fn packet(&mut self, captured: &Captured) -> Result<(), ReplayError> {
        // The programs' clock never runs backwards, the clock of a capture may.
        self.clock = self.clock.max(captured.time);
        let Some(frame) = frame::ethernet(captured) else {
            return Ok(());
        };
        let Some(outline) = frame::outline(frame.captured()) else {
            return Ok(());
        };
        let parsed = frame::parse(&frame.bytes);
        if parsed == Err(Reason::NotIp) {
            return Ok(());
        }
        let ends = self.identify(&outline);
        let headers = parsed.ok().filter(|_| !frame.is_blind(&outline));
        let index = self.flow(ends, headers.as_ref());
        self.count(index);
        if let Some(packet) = &headers {
            self.follow(index, &frame, packet, &outline, ends);
        }
        let hook = self.crossing(outline.src, outline.dst);
        let Some(hook) = hook.filter(|_| !frame.is_blind(&outline)) else {
            return Ok(());
        };
        if hook == Hook::LanEgress && self.is_steered(index) {
            // In a gateway the daemon's own socket would send this.
            return Ok(());
        }
        let judged = match parsed {
            Ok(packet) => self.whole(captured, hook, &frame.bytes, &packet)?,
            Err(reason) => self.broken(captured, hook, &frame.bytes, reason)?,
        };
        self.note(index, judged);
        Ok(())
    }

    /// Whose a packet is: a later fragment is its datagram's.
    fn identify(&mut self, outline: &Outline) -> Ends {
        let ends = Ends::of(outline);
        let Some(part) = outline.fragment else {
            return ends;
        };
        let datagram = datagram(outline, part);
        if part.offset == 0 {
            let first = Datagram {
                ends,
                seen: self.clock,
                sequence: None,
            };
            self.datagrams.insert(datagram, first);
            return ends;
        }
        let lifetime = Duration::from_nanos(FragmentEntry::LIFETIME_NS);
        match self.datagrams.get(&datagram) {
            Some(first) if self.clock.saturating_sub(first.seen) < lifetime => first.ends,
            _ => ends,
        }
    }

    /// The verdict on a packet, of its first piece where it is too long for one run.
    fn whole(
        &mut self,
        captured: &Captured,
        hook: Hook,
        bytes: &[u8],
        packet: &Packet,
    ) -> Result<Option<(Verdict, Reason)>, ReplayError> {
        let mut judged = None;
        for piece in frame::pieces(bytes, packet) {
            let verdict = self.run(captured, hook, &piece)?;
            judged.get_or_insert(verdict);
        }
        Ok(judged)
    }

    /// The verdict on a packet whose headers do not parse.
    fn broken(
        &mut self,
        captured: &Captured,
        hook: Hook,
        bytes: &[u8],
        reason: Reason,
    ) -> Result<Option<(Verdict, Reason)>, ReplayError> {
        let least = match bytes.get(12..14) {
            Some([0x08, 0x00]) => LEAST_V4,
            Some([0x86, 0xdd]) => LEAST_V6,
            _ => LEAST,
        };
        if bytes.len() < least {
            return Ok(Some((Verdict::Drop, reason)));
        }
        let short = bytes
            .get(..bytes.len().min(frame::LONGEST))
            .unwrap_or_default();
        self.run(captured, hook, short).map(Some)
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
        self.flows
            .get(index)
            .is_some_and(|flow| flow.record.is_steered())
    }

    /// The flow of a packet, new where it is the first or reopens an ended one.
    fn flow(&mut self, ends: Ends, packet: Option<&Packet>) -> usize {
        let reopens = packet.is_some_and(Packet::is_syn);
        if let Some(&index) = self.current.get(&ends.key())
            && let Some(flow) = self.flows.get(index)
            && !(reopens && (flow.ended || flow.is_expired(self.clock)))
        {
            return index;
        }
        let Ends { protocol, from, to } = ends;
        let side = self.side(from);
        let stream = (protocol == protocol::TCP).then(|| {
            let client = if side == Side::Remote && self.topology.is_client(to.0) {
                to
            } else {
                from
            };
            (client, Stream::new(self.hello_limit))
        });
        self.flows.push(Flow {
            record: FlowRecord {
                protocol,
                src: from.0,
                sport: from.1,
                dst: to.0,
                dport: to.1,
                initiator: side,
                packets: 0,
                kernel: None,
                first: None,
                known: Known::begun(self.clock),
                judged: None,
            },
            seen: self.clock,
            begun_by_syn: false,
            replied: false,
            ended: false,
            server_spoke: false,
            stream,
            answers: Answers::new(self.hello_limit),
        });
        let index = self.flows.len() - 1;
        self.current.insert(ends.key(), index);
        index
    }

    fn side(&self, end: End) -> Side {
        if self.topology.is_client(end.0) {
            Side::Client
        } else {
            Side::Remote
        }
    }

    fn count(&mut self, index: usize) {
        if let Some(flow) = self.flows.get_mut(index) {
            flow.record.packets += 1;
            flow.seen = self.clock;
        }
    }

    /// Follows the connection.
    fn follow(
        &mut self,
        index: usize,
        frame: &Frame,
        packet: &Packet,
        outline: &Outline,
        ends: Ends,
    ) {
        let (from, to) = (ends.from, ends.to);
        let side = self.side(from);
        let limit = self.hello_limit;
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        if ends.protocol != protocol::TCP {
            flow.replied |= from != (flow.record.src, flow.record.sport);
            return;
        }
        let bytes = frame.captured();
        let (sequence, payload) = match outline.fragment {
            Some(part) if part.offset != 0 => {
                let first = self.datagrams.get(&datagram(outline, part));
                let front = first.and_then(|first| first.sequence);
                let Some(front) = front else { return };
                let end = bytes.len().min(packet.end as usize);
                let offset = u32::try_from(part.offset).unwrap_or(u32::MAX);
                (
                    front.wrapping_add(offset),
                    bytes.get(part.start..end).unwrap_or_default(),
                )
            }
            part => {
                // A SYN takes the sequence number before its first byte.
                let syn = u32::from(packet.tcp_flags & tcp::SYN != 0);
                let sequence = frame::sequence(bytes, packet).wrapping_add(syn);
                if let Some(part) = part
                    && let Some(first) = self.datagrams.get_mut(&datagram(outline, part))
                {
                    let front = frame::body(bytes, packet).saturating_sub(part.start);
                    let front = u32::try_from(front).unwrap_or(u32::MAX);
                    first.sequence = Some(sequence.wrapping_sub(front));
                }
                (sequence, frame::payload(bytes, packet))
            }
        };
        let is_syn_ack = packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK;
        if packet.is_syn() && !flow.begun_by_syn {
            flow.begun_by_syn = true;
            let record = &mut flow.record;
            ((record.src, record.sport), (record.dst, record.dport)) = (from, to);
            record.initiator = side;
            flow.stream_of(from, limit).begin(sequence);
        } else if is_syn_ack && !flow.begun_by_syn {
            flow.stream_of(to, limit)
                .begin(frame::acknowledgement(bytes, packet));
        }
        if is_syn_ack {
            flow.answers.begin(sequence);
        }
        flow.replied |= from != (flow.record.src, flow.record.sport);
        flow.ended |= packet.tcp_flags & (tcp::FIN | tcp::RST) != 0;
        let Some((client, stream)) = &mut flow.stream else {
            return;
        };
        if *client != from {
            flow.server_spoke |= !payload.is_empty();
            flow.answers.segment(sequence, payload, stream.offer());
            if packet.tcp_flags & (tcp::FIN | tcp::RST) != 0 {
                flow.answers.end();
            }
            return;
        }
        stream.segment(self.clock, sequence, payload);
        if packet.tcp_flags & (tcp::FIN | tcp::RST) != 0 {
            stream.end();
        }
    }

    /// Ends every flow and lets the policy decide those that the kernel would have steered.
    pub(super) fn finish(self, config: &Config) -> Vec<FlowRecord> {
        let clock = self.clock;
        self.flows
            .into_iter()
            .map(|flow| flow.finish(config, clock))
            .collect()
    }
}

impl Flow {
    /// The stream of the client, which is this end.
    fn stream_of(&mut self, client: End, limit: usize) -> &mut Stream {
        let (known, stream) = self
            .stream
            .get_or_insert_with(|| (client, Stream::new(limit)));
        if *known != client {
            (*known, *stream) = (client, Stream::new(limit));
        }
        stream
    }

    /// Whether the kernel would have forgotten the flow.
    fn is_expired(&self, now: Duration) -> bool {
        let flags = if self.replied {
            FlowEntry::FLAG_REPLIED
        } else {
            0
        };
        let entry = FlowEntry {
            seen: 0,
            generation: 0,
            flags,
        };
        let silent = u64::try_from(now.saturating_sub(self.seen).as_nanos()).unwrap_or(u64::MAX);
        entry.is_expired(self.record.protocol, silent)
    }

    fn finish(self, config: &Config, clock: Duration) -> FlowRecord {
        let mut record = self.record;
        let mut met = false;
        if let Some((_, stream)) = self.stream {
            record.known.application = stream.application();
            record.known.http_host = stream.http_host();
            record.known.answered = self.answers.finish(stream.offer());
            (record.first, met) = stream.finish(clock, config.steer.hello_timeout);
        }
        if met && self.server_spoke && matches!(record.first, Some(First::Nothing)) {
            record.first = Some(First::NotTls(NotTls::ServerFirst));
        }
        // Where no connection begins, the listener's kernel answers and the daemon sees nothing.
        record.known.met = met && record.is_steered();
        record.judged = record.judge(config);
        record
    }
}

/// The key of a fragment's datagram; in IPv6 only the first fragment tells the protocol for sure.
const fn datagram(outline: &Outline, part: Part) -> DatagramKey {
    let protocol = if outline.src.is_ipv4() {
        outline.protocol
    } else {
        0
    };
    (outline.src, outline.dst, part.id, protocol)
}
