//! Counters by reason, without a lock and without a map: every one that may be counted is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_abi::Reason;

use super::latency::zeros;

/// Where the reason of a code is among all of them.
const PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut at = 0;
    let mut rest = Reason::ALL;
    while let [reason, more @ ..] = rest {
        let (_, from) = places.split_at_mut(reason.code() as usize);
        if let [place, ..] = from {
            *place = at;
        }
        at += 1;
        rest = more;
    }
    places
};

/// A counter for each reason and each of so many kinds.
#[derive(Debug)]
pub(super) struct ByReason {
    kinds: usize,
    cells: Box<[AtomicU64]>,
}

impl ByReason {
    pub(super) fn new(kinds: usize) -> Self {
        Self {
            kinds,
            cells: zeros(Reason::ALL.len() * kinds),
        }
    }

    pub(super) fn note(&self, reason: Reason, kind: usize) {
        debug_assert!(kind < self.kinds);
        let place = PLACES
            .get(usize::from(reason.code()))
            .copied()
            .unwrap_or_default();
        if let Some(cell) = self.cells.get(usize::from(place) * self.kinds + kind) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that are not 0, by what `key` makes of them.
    pub(super) fn read<K: Ord>(
        &self,
        key: impl Fn(Reason, usize) -> Option<K>,
    ) -> BTreeMap<K, u64> {
        let mut found = BTreeMap::new();
        for (reason, cells) in Reason::ALL.iter().zip(self.cells.chunks(self.kinds)) {
            for (kind, cell) in cells.iter().enumerate() {
                let count = cell.load(Ordering::Relaxed);
                if count > 0
                    && let Some(key) = key(*reason, kind)
                {
                    *found.entry(key).or_default() += count;
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        let counts = ByReason::new(3);
        for (times, reason) in Reason::ALL.iter().enumerate() {
            for _ in 0..=times {
                counts.note(*reason, times % 3);
            }
        }
        let read = counts.read(|reason, kind| Some((reason, kind)));
        for (times, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(read[&(*reason, times % 3)], times as u64 + 1, "{reason:?}");
        }
        assert_eq!(read.len(), Reason::ALL.len());
    }
}
