//! Reads the TCP streams of a classic pcap file, as far as captures of clients need it:
//! Ethernet, IPv4, no IP fragments.

use std::net::Ipv4Addr;

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// What the two ends of one connection sent: the bytes from the first on, up to the first that the
/// capture lacks.
pub(crate) struct Flow {
    pub(crate) client: (Ipv4Addr, u16),
    pub(crate) server: (Ipv4Addr, u16),
    pub(crate) sent: Vec<u8>,
    pub(crate) answered: Vec<u8>,
    client_order: Order,
    server_order: Option<Order>,
}

/// Puts the segments of one direction in order.
struct Order {
    next: u32,
    early: Vec<(u32, Vec<u8>)>,
}

struct Segment<'a> {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    sequence: u32,
    flags: u8,
    payload: &'a [u8],
}

/// The connections of a capture that begin in it, in their order. A stream may also be one whose
/// first packet is not a SYN; its sender counts as the client.
pub(crate) fn flows(capture: &[u8]) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    for segment in frames(capture).into_iter().filter_map(segment) {
        let begins = segment.flags & (SYN | ACK) == SYN;
        let known = flows.iter_mut().rev().find(|flow| {
            (flow.client, flow.server) == (segment.from, segment.to)
                || (flow.server, flow.client) == (segment.from, segment.to)
        });
        match known {
            Some(flow) if flow.client == segment.from => {
                let repeated_syn =
                    begins && segment.sequence.wrapping_add(1) == flow.client_order.next;
                if begins && !repeated_syn && !flow.sent.is_empty() {
                    flows.push(Flow::new(&segment));
                } else {
                    flow.client_order.take(&segment, &mut flow.sent);
                }
            }
            Some(flow) => {
                let order = flow
                    .server_order
                    .get_or_insert_with(|| Order::new(&segment));
                order.take(&segment, &mut flow.answered);
            }
            None => flows.push(Flow::new(&segment)),
        }
    }
    flows
}

impl Flow {
    fn new(segment: &Segment<'_>) -> Self {
        let mut flow = Self {
            client: segment.from,
            server: segment.to,
            sent: Vec::new(),
            answered: Vec::new(),
            client_order: Order::new(segment),
            server_order: None,
        };
        flow.client_order.take(segment, &mut flow.sent);
        flow
    }
}

impl Order {
    fn new(segment: &Segment<'_>) -> Self {
        let syn = u32::from(segment.flags & SYN != 0);
        Self {
            next: segment.sequence.wrapping_add(syn),
            early: Vec::new(),
        }
    }

    fn take(&mut self, segment: &Segment<'_>, bytes: &mut Vec<u8>) {
        if segment.payload.is_empty() || segment.flags & (SYN | FIN) == SYN {
            return;
        }
        self.early
            .push((segment.sequence, segment.payload.to_vec()));
        let mut moved = true;
        while moved {
            moved = false;
            for (sequence, payload) in &self.early {
                let known = self.next.wrapping_sub(*sequence) as usize;
                if known < payload.len() {
                    bytes.extend(&payload[known..]);
                    self.next = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
                    moved = true;
                }
            }
        }
    }
}

fn frames(capture: &[u8]) -> Vec<&[u8]> {
    let little = match capture[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0xc3, 0xd4] => false,
        _ => panic!("not a classic pcap file with microseconds"),
    };
    let number = |at: usize| {
        let bytes = capture[at..at + 4].try_into().unwrap();
        if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        }
    };
    assert_eq!(number(20), 1, "the link type is Ethernet");
    let mut frames = Vec::new();
    let mut at = 24;
    while at + 16 <= capture.len() {
        let len = number(at + 8) as usize;
        frames.push(&capture[at + 16..at + 16 + len]);
        at += 16 + len;
    }
    frames
}

fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(12..)?.strip_prefix(&[8, 0])?;
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if packet[9] != 6 {
        return None;
    }
    let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into();
    let tcp = &packet[header..total];
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Segment {
        from: (address(12), port(0)),
        to: (address(16), port(2)),
        sequence: u32::from_be_bytes(tcp[4..8].try_into().unwrap()),
        flags: tcp[13],
        payload: &tcp[usize::from(tcp[12] >> 4) * 4..],
    })
}
