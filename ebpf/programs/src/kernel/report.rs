//! Counters and sampled events.
#![expect(unsafe_code, reason = "per-CPU cells are raw memory")]

use core::ptr;

use sluice_abi::{
    Event, Hook, Verdict,
    event::{EventStat, counter_index},
};
use sluice_programs::{Judgement, Packet};

use super::{env::Kernel, log, maps, replaying, skb::Skb};

/// Events that one CPU sends: one each millisecond, 256 at once.
const EVENT_INTERVAL: u64 = 1_000_000;
const EVENT_BURST: u64 = 256_000_000;

/// Counts a judgement.
#[inline(always)]
pub(crate) fn count(hook: Hook, judgement: Judgement, length: u32) {
    let index = counter_index(hook as u8, judgement.verdict() as u8, judgement.reason());
    if let Some(cell) = maps::COUNTERS.get_ptr_mut(index) {
        // SAFETY: the cell is this CPU's own, and programs on one CPU do not interleave.
        let cell = unsafe { &mut *cell };
        cell.packets = cell.packets.wrapping_add(1);
        cell.bytes = cell.bytes.wrapping_add(u64::from(length));
    }
}

/// Counts a judgement and reports it where something is refused.
#[inline(always)]
pub(crate) fn verdict(skb: &Skb, hook: Hook, packet: &Packet, judgement: Judgement) {
    count(hook, judgement, packet.length());
    if matches!(judgement.verdict(), Verdict::Drop | Verdict::Reject) && !replaying() {
        event(skb, hook, packet, judgement);
        log::refused(skb, hook, packet, judgement);
    }
}

#[inline(never)]
fn event(skb: &Skb, hook: Hook, packet: &Packet, judgement: Judgement) {
    use sluice_programs::Env as _;
    let now = Kernel::new(false).now();
    let Some(bucket) = maps::EVENT_BUCKET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as for `count`.
    let allowed = unsafe { &mut *bucket }.take(now, EVENT_INTERVAL, EVENT_BURST);
    if !allowed {
        return row(EventStat::Sampled);
    }
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        return row(EventStat::Lost);
    };
    entry.write(Event {
        time: now,
        length: packet.length(),
        ifindex: skb.ifindex(),
        src: packet.src,
        dst: packet.dst,
        sport: packet.sport,
        dport: packet.dport,
        protocol: packet.protocol,
        hook: hook as u8,
        verdict: judgement.verdict() as u8,
        reason: judgement.reason(),
    });
    entry.submit(0);
    row(EventStat::Sent);
}

#[inline(always)]
fn row(stat: EventStat) {
    if let Some(cell) = maps::EVENT_STATS.get_ptr_mut(stat as u32) {
        // SAFETY: as for `count`.
        let value = unsafe { ptr::read(cell) };
        // SAFETY: as for `count`.
        unsafe { ptr::write(cell, value.wrapping_add(1)) };
    }
}
