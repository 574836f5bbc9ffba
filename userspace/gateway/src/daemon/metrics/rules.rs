//! How often each rule decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sluice_policy::{Policy, RuleId};

/// Rules that are counted one by one: the first ones, in the order of the file. The rest are counted
/// together, so that what a scrape costs has a bound.
pub const COUNTED_RULES: usize = 1000;

/// Cells of a rule that different workers write to, so that no two of the first sixteen wait for one
/// cache line.
const LANES: usize = 16;

/// What a rule decided.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hits {
    /// Flows.
    pub flows: u64,
    /// Requests of decrypted and cleartext flows.
    pub requests: u64,
}

/// The cell of a worker: as large as two cache lines, which are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    flows: AtomicU64,
    requests: AtomicU64,
}

#[derive(Debug, Default)]
struct Counter([Cell; LANES]);

impl Counter {
    fn read(&self) -> Hits {
        self.0.iter().fold(Hits::default(), |sum, cell| Hits {
            flows: sum.flows + cell.flows.load(Ordering::Relaxed),
            requests: sum.requests + cell.requests.load(Ordering::Relaxed),
        })
    }
}

/// Which cell a worker counts in; many may share one, and count right all the same.
#[derive(Clone, Copy, Debug)]
pub struct Lane(usize);

impl Lane {
    /// The one after that of whoever asked before.
    pub(super) fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed) % LANES)
    }
}

/// The counters of a generation's rules. A rule that keeps its name goes on with its counter.
#[derive(Debug, Default)]
pub struct RuleHits {
    counted: Vec<(Arc<str>, Arc<Counter>)>,
    rest: Arc<Counter>,
}

impl RuleHits {
    /// Counters for the rules of a policy, of which those of the generation `before` go on.
    #[must_use]
    pub fn new(policy: &Policy, before: Option<&Self>) -> Self {
        let names = (0..).map_while(|id| policy.rule(RuleId(id)));
        Self::of(names.map(|rule| rule.name.as_str()), before)
    }

    fn of<'n>(names: impl Iterator<Item = &'n str>, before: Option<&Self>) -> Self {
        let known: HashMap<&str, &Arc<Counter>> = before
            .iter()
            .flat_map(|before| &before.counted)
            .map(|(name, counter)| (&**name, counter))
            .collect();
        let counted = names.take(COUNTED_RULES).map(|name| {
            let counter = known.get(name).map(|counter| Arc::clone(counter));
            (name.into(), counter.unwrap_or_default())
        });
        Self {
            counted: counted.collect(),
            rest: before
                .map(|before| Arc::clone(&before.rest))
                .unwrap_or_default(),
        }
    }

    /// Counts a flow that a rule decided.
    pub fn note_flow(&self, rule: RuleId, lane: Lane) {
        if let Some(cell) = self.cell(rule, lane) {
            cell.flows.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request that a rule decided.
    pub fn note_request(&self, rule: RuleId, lane: Lane) {
        if let Some(cell) = self.cell(rule, lane) {
            cell.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn cell(&self, rule: RuleId, lane: Lane) -> Option<&Cell> {
        let counted = usize::try_from(rule.0)
            .ok()
            .and_then(|at| self.counted.get(at))
            .map(|(_, counter)| counter);
        counted.unwrap_or(&self.rest).0.get(lane.0)
    }

    /// The rules that are counted one by one, and what they decided.
    pub fn counted(&self) -> impl Iterator<Item = (&Arc<str>, Hits)> {
        self.counted
            .iter()
            .map(|(name, counter)| (name, counter.read()))
    }

    /// What the rules decided that are counted together.
    #[must_use]
    pub fn rest(&self) -> Hits {
        self.rest.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_keeps_its_name_goes_on_and_the_others_begin_anew() {
        let first = RuleHits::of(["a", "b"].into_iter(), None);
        let lanes = [Lane::next(), Lane::next()];
        first.note_flow(RuleId(1), lanes[0]);
        first.note_request(RuleId(1), lanes[1]);
        let second = RuleHits::of(["b", "c"].into_iter(), Some(&first));
        // A flow that began before ends now.
        first.note_flow(RuleId(1), lanes[1]);
        second.note_flow(RuleId(0), lanes[0]);
        let read: Vec<_> = second
            .counted()
            .map(|(name, hits)| (&**name, hits))
            .collect();
        let hits = |flows, requests| Hits { flows, requests };
        assert_eq!(read, [("b", hits(3, 1)), ("c", hits(0, 0))]);
    }

    #[test]
    fn rules_beyond_the_bound_are_counted_together_over_reloads() {
        let names: Vec<_> = (0..COUNTED_RULES + 5)
            .map(|n| format!("rule {n}"))
            .collect();
        let of = |before| RuleHits::of(names.iter().map(String::as_str), before);
        let first = of(None);
        let lane = Lane::next();
        let id = |at: usize| RuleId(u32::try_from(at).unwrap());
        first.note_flow(id(COUNTED_RULES), lane);
        let second = of(Some(&first));
        second.note_flow(id(COUNTED_RULES + 4), lane);
        second.note_flow(id(COUNTED_RULES - 1), lane);
        assert_eq!(second.counted().count(), COUNTED_RULES);
        assert_eq!(second.rest().flows, 2);
        let flows: u64 = second.counted().map(|(_, hits)| hits.flows).sum();
        assert_eq!(flows, 1);
    }
}
