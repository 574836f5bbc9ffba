//! Classes and tables to a verdict.

use core::num::NonZeroU16;

use sluice_abi::{
    Addr, Entry, Reason, Verdict,
    table::{self, Direction},
};

use crate::{
    bytes::Bytes,
    env::{Env, Policy},
    parse::{Packet, protocol},
    quic,
};

/// A verdict and why, in one register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a verdict that is not carried out lets the packet through"]
pub struct Judgement(NonZeroU16);

impl Judgement {
    /// Packs a verdict with the code of its reason; without a reason it is a drop for want of a
    /// policy, since only cells that nobody has written hold none.
    #[inline(always)]
    pub const fn new(verdict: Verdict, reason: u8) -> Self {
        let none = (Verdict::Drop as u16) << 8 | Reason::NoPolicy.code() as u16;
        let bits = if reason == 0 {
            none
        } else {
            (verdict as u16) << 8 | reason as u16
        };
        match NonZeroU16::new(bits) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU16::MIN),
        }
    }

    /// Lets the packet go on.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self::new(Verdict::Pass, reason.code())
    }

    /// Discards the packet.
    #[inline(always)]
    pub const fn discard(reason: Reason) -> Self {
        Self::new(Verdict::Drop, reason.code())
    }

    /// Discards the packet and answers.
    #[inline(always)]
    pub const fn reject(reason: Reason) -> Self {
        Self::new(Verdict::Reject, reason.code())
    }

    /// What happens to the packet.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        Verdict::from_bits((self.0.get() >> 8) as u8)
    }

    /// Code of the [`Reason`].
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> u8 {
        self.0.get() as u8
    }

    /// Whether the packet goes on.
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self.verdict(), Verdict::Pass)
    }
}

impl From<Entry> for Judgement {
    #[inline(always)]
    fn from(entry: Entry) -> Self {
        Self::new(entry.verdict(), entry.reason_code())
    }
}

/// What the policy says of a flow that `client` and `remote` have on `port` (network order).
#[inline(always)]
pub fn lookup<E: Env>(
    env: &E,
    policy: Policy<'_>,
    direction: Direction,
    client: &Addr,
    remote: &Addr,
    number: u8,
    port: u16,
) -> Judgement {
    use sluice_abi::PolicyCell;
    // The tables leave these to the programs. What comes here is none of them: ICMP of the other
    // family, or IGMP to a single host, which no router forwards and a tunnel may pose as.
    if matches!(number, protocol::ICMP | protocol::IGMP | protocol::ICMPV6) {
        return Judgement::discard(match direction {
            Direction::Out => Reason::Protocol,
            Direction::In => Reason::InboundOther,
        });
    }
    let slot = policy.slot;
    let client_class = if policy.cell.flags & PolicyCell::FLAG_CLIENT_CLASSES != 0 {
        env.client_class(slot, client)
    } else {
        0
    };
    let remote_class = if policy.cell.flags & PolicyCell::FLAG_REMOTE_CLASSES != 0 {
        env.remote_class(slot, remote)
    } else {
        0
    };
    let cell = table::matrix_index(slot, direction as u8, client_class, remote_class);
    let number_of_table = env.table(cell);
    let port = u16::from_be(port);
    let (chunk, low) = match number {
        protocol::TCP => (table::tcp_chunk(slot, number_of_table, port), port as u8),
        protocol::UDP => (table::udp_chunk(slot, number_of_table, port), port as u8),
        other => (table::protocol_chunk(slot, number_of_table), other),
    };
    env.entry(chunk, low).into()
}

/// The verdict of a packet that begins a flow, with QUIC told from what only uses its port.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn newcomer<E: Env, B: Bytes + ?Sized>(
    env: &E,
    policy: Policy<'_>,
    direction: Direction,
    frame: &B,
    packet: &Packet,
) -> Judgement {
    let (client, remote) = match direction {
        Direction::Out => (&packet.src, &packet.dst),
        Direction::In => (&packet.dst, &packet.src),
    };
    let judgement = lookup(
        env,
        policy,
        direction,
        client,
        remote,
        packet.protocol,
        packet.dport,
    );
    if packet.protocol == protocol::UDP
        && judgement.reason() == Reason::Quic.code()
        && !quic::is_initial(frame, packet.transport + 8, packet.end)
    {
        return policy.cell.native_udp.into();
    }
    judgement
}
