//! Steered flows that the rules refuse by nothing but addresses and port, with a reset: the kernel
//! can refuse them itself.

use std::{collections::HashMap, net::IpAddr};

use super::{Overflow, Steer, classes::Parts};
use crate::{
    Policy,
    compile::FlatRule,
    decide::Decision,
    facts::Facts,
    list::ListData,
    lookup::Scratch,
    net::Net,
    outcome::{BlockKind, Outcome},
    port::PortRange,
    rule::{Action, AddressItem, Condition, DefaultAction, RuleSet},
};

/// Whether the rules refuse a flow, once its addresses and port are known, by a reset: at once, so
/// that neither a page nor an alert is owed to the client.
pub(super) fn refuses(
    policy: &Policy,
    client: IpAddr,
    remote: IpAddr,
    port: u16,
    scratch: &mut Scratch,
) -> bool {
    let decision = policy.decide(&Facts::packet(client, remote, port), scratch);
    matches!(decision, Decision::Decided(decided)
        if decided.outcome == Outcome::Block(BlockKind::Reset))
}

/// What has to be asked to know every refusal.
pub(super) struct Questions<'s> {
    policy: &'s Policy,
    /// Networks that conditions on the client's address name, with the number of the condition.
    pub(super) clients: Vec<(Net, usize)>,
    /// Likewise for the destination.
    pub(super) remotes: Vec<(Net, usize)>,
    /// Steered ports that no condition tells apart.
    pub(super) segments: Vec<PortRange>,
}

impl<'s> Questions<'s> {
    /// `None` where there is nothing that the kernel could refuse.
    pub(super) fn new(set: &'s RuleSet, policy: &'s Policy, steer: &Steer) -> Option<Self> {
        let steered: Vec<_> = steer.tls.iter().chain(&steer.http).copied().collect();
        if steered.is_empty() {
            return None;
        }
        let flat = set.flat().ok()?;
        let reset = |rule: &FlatRule<'_>| *rule.action == Action::Block(BlockKind::Reset);
        let defaults = [set.defaults.identified, set.defaults.unidentified];
        // Behind the last refusal that ends the walk nothing adds to what is refused.
        let count = if defaults.contains(&DefaultAction::Block(BlockKind::Reset))
            || flat.iter().any(|rule| reset(rule) && !rule.last)
        {
            flat.len()
        } else {
            flat.iter().rposition(reset)? + 1
        };
        let mut questions = Self {
            policy,
            clients: Vec::new(),
            remotes: Vec::new(),
            segments: Vec::new(),
        };
        let mut boundaries = Vec::new();
        let mut number = 0;
        for condition in flat.iter().take(count).flat_map(|rule| rule.conditions()) {
            questions.add(set, condition, &mut number, &mut boundaries);
        }
        boundaries.sort_unstable();
        boundaries.dedup();
        questions.segments = steered
            .into_iter()
            .flat_map(|range| cut(range, &boundaries))
            .collect();
        Some(questions)
    }

    fn add(
        &mut self,
        set: &'s RuleSet,
        condition: &'s Condition,
        number: &mut usize,
        boundaries: &mut Vec<u16>,
    ) {
        let (items, nets) = match condition {
            Condition::Client(items) => (items, &mut self.clients),
            Condition::Destination(items) => (items, &mut self.remotes),
            Condition::Port(ranges) => {
                for range in ranges {
                    boundaries.push(range.first());
                    boundaries.extend(range.last().checked_add(1));
                }
                return;
            }
            Condition::Not(inner) => {
                for condition in inner {
                    self.add(set, condition, number, boundaries);
                }
                return;
            }
            _ => return,
        };
        for item in items {
            match *item {
                AddressItem::Net(net) => nets.push((net, *number)),
                AddressItem::List(id) => {
                    if let Some(ListData::Addresses(list)) =
                        set.lists.get(id.0).map(|list| &list.data)
                    {
                        nets.extend(list.iter().map(|&net| (net, *number)));
                    }
                }
            }
        }
        *number += 1;
    }
}

/// The pieces of a range between boundaries, each the first port of a piece.
fn cut(range: PortRange, boundaries: &[u16]) -> Vec<PortRange> {
    let inside = boundaries
        .iter()
        .copied()
        .filter(|&port| range.first() < port && port <= range.last());
    let mut pieces = Vec::new();
    let mut first = range.first();
    for boundary in inside {
        pieces.extend(PortRange::new(first, boundary - 1));
        first = boundary;
    }
    pieces.extend(PortRange::new(first, range.last()));
    pieces
}

/// Ways in which a pair of parts is refused; the first is not at all.
pub(super) struct Refusals {
    /// For each way the ports.
    pub(super) ways: Vec<Vec<PortRange>>,
    /// Numbers of ways: those of the first client part for every remote part, and so on.
    cells: Vec<u32>,
    remotes: usize,
}

/// Decisions that are made at most to fill the kernel's tables: a second or less.
const MOST_DECISIONS: usize = 1 << 21;

impl Refusals {
    /// Without rules nothing is refused.
    pub(super) fn none(clients: &Parts, remotes: &Parts) -> Self {
        Self {
            ways: vec![Vec::new()],
            cells: vec![0; clients.parts.len() * remotes.parts.len()],
            remotes: remotes.parts.len(),
        }
    }

    /// Decides one flow for every pair of parts and every segment.
    pub(super) fn ask(
        questions: &Questions<'_>,
        clients: &Parts,
        remotes: &Parts,
    ) -> Result<Self, Overflow> {
        let (from, to) = (clients.parts.len(), remotes.parts.len());
        let decisions = from
            .saturating_mul(to)
            .saturating_mul(questions.segments.len());
        if decisions > MOST_DECISIONS {
            return Err(Overflow::Decisions {
                found: decisions,
                most: MOST_DECISIONS,
            });
        }
        let mut scratch = Scratch::default();
        let mut ways = vec![Vec::new()];
        let mut numbers = HashMap::from([(Vec::new(), 0)]);
        let mut cells = Vec::with_capacity(from * to);
        for client in &clients.parts {
            for remote in &remotes.parts {
                let (Some(client), Some(remote)) = (client.sample, remote.sample) else {
                    cells.push(0);
                    continue;
                };
                let refused: Vec<_> = questions
                    .segments
                    .iter()
                    .copied()
                    .filter(|range| {
                        let port = range.first();
                        refuses(questions.policy, client, remote, port, &mut scratch)
                    })
                    .collect();
                let next = u32::try_from(ways.len()).unwrap_or(u32::MAX);
                let way = *numbers.entry(refused.clone()).or_insert(next);
                if way == next {
                    ways.push(refused);
                }
                cells.push(way);
            }
        }
        Ok(Self {
            ways,
            cells,
            remotes: to,
        })
    }

    /// The way of a pair of parts.
    pub(super) fn way(&self, client: usize, remote: usize) -> u32 {
        let cell = self.cells.get(client * self.remotes + remote);
        cell.copied().unwrap_or_default()
    }

    /// The ways of a client part, by remote part.
    pub(super) fn of_client(&self, client: usize) -> Vec<u32> {
        let from = client * self.remotes;
        let row = self.cells.get(from..from + self.remotes);
        row.unwrap_or_default().to_vec()
    }

    /// The ways of a remote part, by client part.
    pub(super) fn of_remote(&self, remote: usize) -> Vec<u32> {
        self.cells
            .iter()
            .skip(remote)
            .step_by(self.remotes.max(1))
            .copied()
            .collect()
    }
}
