//! Later fragments follow their first.

use sluice_abi::{
    Reason,
    flow::{FragmentEntry, FragmentKey},
};

use crate::{
    env::{Env, Policy},
    judge::Judgement,
    parse::Packet,
};

#[inline(always)]
const fn key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        src: packet.src,
        dst: packet.dst,
        id: packet.fragment_id,
        protocol: if packet.is_v6 { 0 } else { packet.protocol },
        pad: [0; 3],
    }
}

/// Remembers what became of a first fragment; a blocked one is never forgiven by a second.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn remember<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet, judgement: Judgement) {
    let key = key(packet);
    let now = env.now();
    let mut pass = judgement.passes();
    if let Some(earlier) = env.fragment(&key)
        && now.saturating_sub(earlier.seen) < FragmentEntry::LIFETIME_NS
    {
        pass &= earlier.pass == 1;
    }
    let entry = FragmentEntry {
        seen: now,
        generation: policy.cell.generation,
        pass: u32::from(pass),
    };
    env.remember_fragment(&key, &entry);
}

/// The verdict of a later fragment.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn follow<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet) -> Judgement {
    match env.fragment(&key(packet)) {
        Some(first)
            if first.pass == 1
                && first.generation == policy.cell.generation
                && env.now().saturating_sub(first.seen) < FragmentEntry::LIFETIME_NS =>
        {
            Judgement::pass(Reason::Fragment)
        }
        _ => Judgement::discard(Reason::FragmentUnknown),
    }
}
