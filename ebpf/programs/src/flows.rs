//! Which packets belong to a flow that was let through.
//!
//! A flow that nobody has answered lives in a table that forgets its oldest entries, so a flood of
//! openings cannot fill it. The first answer moves the flow into a bounded table with a quota per
//! client; there nothing is evicted, and room is made only from flows that have expired: each
//! newcomer looks at the next keys on a clock. Nothing here needs the daemon.

use sluice_abi::{Addr, FlowEntry, FlowKey, Reason, Verdict, table::Direction};

use crate::{
    env::{Env, FlowCell, Policy},
    judge::{self, Judgement},
    parse::{Ends, Packet, protocol, tcp},
};

/// Keys that a newcomer inspects on the clock.
const HAND: usize = 2;
/// Keys that it inspects when a limit is in its way.
const HAND_HARD: usize = 16;

/// Finds the flow of a packet, ages it, and renews it; `None` when the packet is the first.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn find<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet) -> Option<Judgement> {
    let ends = &packet.ends;
    if let Some(cell) = env.established(&ends.key) {
        return established(env, policy, packet, &cell);
    }
    match env.embryonic(&ends.key) {
        Some(cell) => embryonic(env, policy, packet, &cell),
        None => None,
    }
}

/// Whether a flow of this key is known and alive, whoever asks.
#[inline(always)]
pub fn is_known<E: Env>(env: &E, key: &FlowKey) -> bool {
    let now = env.now();
    if let Some(cell) = env.established(key) {
        return !cell.get().is_expired(key.protocol, now);
    }
    match env.embryonic(key) {
        Some(cell) => !cell.get().is_expired(key.protocol, now),
        None => false,
    }
}

/// Remembers the flow that `packet` begins, or with `FLAG_HIGH_BEGAN` in `flags` the one that it
/// answers.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
#[must_use]
pub fn begin<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet, flags: u32) -> bool {
    let ends = &packet.ends;
    let high = if ends.sender_is_high {
        FlowEntry::FLAG_HIGH_BEGAN
    } else {
        0
    };
    let entry = FlowEntry {
        seen: env.now(),
        generation: policy.cell.generation,
        flags: flags ^ high,
    };
    env.begin(&ends.key, &entry)
}

#[inline(always)]
const fn sent_by_initiator(entry: &FlowEntry, ends: &Ends) -> bool {
    (entry.flags & FlowEntry::FLAG_HIGH_BEGAN != 0) == ends.sender_is_high
}

/// Whether the packet opens a new connection on ports that an ended one used.
#[inline(always)]
const fn reopens(entry: &FlowEntry, packet: &Packet) -> bool {
    packet.is_syn() && entry.is_closing()
}

#[inline(always)]
fn established<E: Env>(
    env: &E,
    policy: Policy<'_>,
    packet: &Packet,
    cell: &E::Flow<'_>,
) -> Option<Judgement> {
    let ends = &packet.ends;
    let now = env.now();
    let before = cell.get();
    if before.is_expired(ends.key.protocol, now) || reopens(&before, packet) {
        release(env, &ends.key, &before);
        return None;
    }
    let mut after = before;
    if before.generation != policy.cell.generation {
        let judgement = again(env, policy, ends, &before);
        if !judgement.passes() {
            release(env, &ends.key, &before);
            return Some(judgement);
        }
        after.generation = policy.cell.generation;
    }
    after.flags |= ending(&before, packet);
    if now > before.seen && now - before.seen > FlowEntry::TOUCH_NS {
        after.seen = now;
    }
    if after != before {
        if after.flags != before.flags {
            after.seen = now;
        }
        cell.set(after);
    }
    Some(Judgement::pass(Reason::Flow))
}

#[inline(always)]
fn embryonic<E: Env>(
    env: &E,
    policy: Policy<'_>,
    packet: &Packet,
    cell: &E::Flow<'_>,
) -> Option<Judgement> {
    let ends = &packet.ends;
    let now = env.now();
    let mut entry = cell.get();
    if entry.is_expired(ends.key.protocol, now) || reopens(&entry, packet) {
        env.forget_embryonic(&ends.key);
        return None;
    }
    if entry.generation != policy.cell.generation {
        let judgement = again(env, policy, ends, &entry);
        if !judgement.passes() {
            env.forget_embryonic(&ends.key);
            return Some(judgement);
        }
        entry.generation = policy.cell.generation;
    }
    entry.seen = now;
    entry.flags |= ending(&entry, packet);
    if sent_by_initiator(&entry, ends) {
        cell.set(entry);
        return Some(Judgement::pass(Reason::Flow));
    }
    entry.flags |= FlowEntry::FLAG_REPLIED;
    Some(promote(env, policy, ends, &entry))
}

/// The flag bits that the packet adds: FIN by side, RST.
#[inline(always)]
const fn ending(entry: &FlowEntry, packet: &Packet) -> u32 {
    let mut flags = 0;
    if packet.protocol == protocol::TCP {
        if packet.tcp_flags & tcp::FIN != 0 {
            flags |= if sent_by_initiator(entry, &packet.ends) {
                FlowEntry::FLAG_FIN_INITIATOR
            } else {
                FlowEntry::FLAG_FIN_RESPONDER
            };
        }
        if packet.tcp_flags & tcp::RST != 0 {
            flags |= FlowEntry::FLAG_RST;
        }
    }
    flags
}

/// The client of a flow: who began it, or for a flow from outside who was called.
#[inline(always)]
const fn client<'a>(key: &'a FlowKey, entry: &FlowEntry) -> &'a Addr {
    let high_began = entry.flags & FlowEntry::FLAG_HIGH_BEGAN != 0;
    let inbound = entry.flags & FlowEntry::FLAG_INBOUND != 0;
    if high_began != inbound {
        &key.high
    } else {
        &key.low
    }
}

/// What the current generation says of a flow that an older one let begin.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn again<E: Env>(env: &E, policy: Policy<'_>, ends: &Ends, entry: &FlowEntry) -> Judgement {
    let key = &ends.key;
    let high_began = entry.flags & FlowEntry::FLAG_HIGH_BEGAN != 0;
    let (began, called, port) = if high_began {
        (&key.high, &key.low, key.low_port)
    } else {
        (&key.low, &key.high, key.high_port)
    };
    if matches!(key.protocol, protocol::ICMP | protocol::ICMPV6)
        || entry.flags & FlowEntry::FLAG_TO_GATEWAY != 0
    {
        return Judgement::pass(Reason::Flow);
    }
    let judgement = if entry.flags & FlowEntry::FLAG_INBOUND != 0 {
        judge::lookup(
            env,
            policy,
            Direction::In,
            called,
            began,
            key.protocol,
            port,
        )
    } else {
        judge::lookup(
            env,
            policy,
            Direction::Out,
            began,
            called,
            key.protocol,
            port,
        )
    };
    match judgement.verdict() {
        // The flow began elsewhere and the daemon cannot join it.
        Verdict::Steer => Judgement::reject(Reason::Midstream),
        _ => judgement,
    }
}

/// Moves an answered flow among the established, within the limits.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn promote<E: Env>(env: &E, policy: Policy<'_>, ends: &Ends, entry: &FlowEntry) -> Judgement {
    let client = client(&ends.key, entry);
    sweep(env, HAND);
    if env.count_client(client, true) > policy.cell.flow_limit_per_client {
        sweep(env, HAND_HARD);
        if env.count_client(client, false) >= policy.cell.flow_limit_per_client {
            return Judgement::discard(Reason::ClientFlowLimit);
        }
        env.count_client(client, true);
    }
    if !has_room(env, policy, ends, entry) {
        sweep(env, HAND_HARD);
        if !has_room(env, policy, ends, entry) {
            env.count_client(client, false);
            return Judgement::discard(Reason::FlowLimit);
        }
    }
    env.clock_push(&ends.key);
    env.forget_embryonic(&ends.key);
    Judgement::pass(Reason::Flow)
}

/// Under which the established flows of all clients are counted together.
const EVERYBODY: Addr = Addr([0; 4]);

/// Puts a flow among the established, if the limit for all and the table have room for it.
#[inline(always)]
fn has_room<E: Env>(env: &E, policy: Policy<'_>, ends: &Ends, entry: &FlowEntry) -> bool {
    if env.count_client(&EVERYBODY, true) <= policy.cell.flow_limit
        && env.establish(&ends.key, entry)
    {
        return true;
    }
    env.count_client(&EVERYBODY, false);
    false
}

/// Inspects the next keys on the clock and forgets those flows that have expired.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn sweep<E: Env>(env: &E, keys: usize) {
    let now = env.now();
    let mut inspected = 0;
    while inspected < keys {
        inspected += 1;
        let Some(key) = env.clock_pop() else { return };
        let Some(cell) = env.established(&key) else {
            continue;
        };
        let entry = cell.get();
        if entry.is_expired(key.protocol, now) {
            release(env, &key, &entry);
        } else {
            env.clock_push(&key);
        }
    }
}

/// Forgets an established flow and gives its client the place back.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn release<E: Env>(env: &E, key: &FlowKey, entry: &FlowEntry) {
    if env.forget_established(key) {
        env.count_client(client(key, entry), false);
        env.count_client(&EVERYBODY, false);
    }
}
