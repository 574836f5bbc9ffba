//! Which rules may hold for a flow, without asking each.
//!
//! Every rule stands under the one of its conditions that is likely to exclude it most often: under
//! the names, users, addresses, groups or states of the negotiation that this condition lists. A
//! flow's own name, user, addresses, groups and state then tell which rules may hold, as bits; all
//! others are False. Rules without such a condition always may.

use crate::{
    guard::Guard,
    lookup::HostOf,
    matcher::{Test, View},
    negotiation::{NotNegotiated, Tls},
    rule::TlsStates,
    stage::{Fact, FactSet, Stage},
};

/// What rules stand under.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Key {
    Host,
    User,
    Client,
    Destination,
    Group,
    Tls,
}

impl Key {
    /// The best first.
    const ALL: [Self; 6] = [
        Self::Host,
        Self::User,
        Self::Client,
        Self::Destination,
        Self::Group,
        Self::Tls,
    ];
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Rules that always may hold.
    always: Box<[u64]>,
    keys: Box<[Keyed]>,
}

/// The rules that stand under one key.
#[derive(Clone, Debug)]
struct Keyed {
    key: Key,
    support: FactSet,
    /// The first of them.
    first: usize,
    /// All of them.
    all: Box<[u64]>,
    /// Where the bits of each mark end in `bits`.
    ends: Box<[u32]>,
    bits: Box<[(u32, u64)]>,
}

impl Index {
    pub(crate) fn new(guards: &[&Guard]) -> Self {
        let words = guards.len().div_ceil(64);
        let mut always = vec![0; words];
        let mut keyed: Vec<Vec<(u32, usize)>> = vec![Vec::new(); Key::ALL.len()];
        let mut supports = [FactSet::EMPTY; Key::ALL.len()];
        for (rule, guard) in guards.iter().enumerate() {
            let best = Key::ALL.iter().enumerate().find_map(|(at, &key)| {
                let (marks, support) = marks(guard, key)?;
                Some((at, marks, support))
            });
            match best {
                Some((at, marks, support)) => {
                    if let (Some(list), Some(all)) = (keyed.get_mut(at), supports.get_mut(at)) {
                        list.extend(marks.into_iter().map(|mark| (mark, rule)));
                        *all = all.union(support);
                    }
                }
                None => set(&mut always, rule),
            }
        }
        let keys = Key::ALL
            .into_iter()
            .zip(keyed)
            .zip(supports)
            .filter(|((_, rules), _)| !rules.is_empty())
            .map(|((key, rules), support)| Keyed::new(key, support, words, rules))
            .collect();
        Self {
            always: always.into_boxed_slice(),
            keys,
        }
    }

    /// Sets the bits of the rules that may hold. What a False of the others rests on is returned by
    /// [`Index::support`].
    #[inline]
    pub(crate) fn candidates(&self, view: &mut View<'_, '_>, candidates: &mut Vec<u64>) {
        candidates.clear();
        candidates.extend_from_slice(&self.always);
        for keyed in &self.keys {
            if !keyed.is_known(view) {
                for (word, all) in candidates.iter_mut().zip(&keyed.all) {
                    *word |= all;
                }
                continue;
            }
            let looked = &mut *view.looked;
            match keyed.key {
                Key::Host => {
                    if let Some(host) = view.facts.host {
                        for &mark in looked.host(view.tables, HostOf::Flow, host) {
                            keyed.add(mark, candidates);
                        }
                    }
                }
                Key::User => {
                    if let Some(user) = looked.user(view.tables, view.facts) {
                        keyed.add(user, candidates);
                    }
                }
                Key::Client => {
                    for &mark in looked.client(view.tables, view.facts) {
                        keyed.add(mark, candidates);
                    }
                }
                Key::Destination => {
                    for &mark in looked.destination(view.tables, view.facts) {
                        keyed.add(mark, candidates);
                    }
                }
                Key::Group => {
                    for &mark in looked.groups(view.tables, view.facts, view.known) {
                        keyed.add(mark, candidates);
                    }
                }
                Key::Tls => {
                    if let Some(tls) = view.negotiation {
                        keyed.add(state_mark(tls), candidates);
                    }
                }
            }
        }
    }

    /// What it rests on that rules before this one were left out.
    #[inline]
    pub(crate) fn support(&self, view: &View<'_, '_>, upto: usize) -> FactSet {
        self.keys
            .iter()
            .filter(|keyed| keyed.first < upto && keyed.is_known(view))
            .fold(FactSet::EMPTY, |all, keyed| all.union(keyed.support))
    }
}

impl Keyed {
    fn new(key: Key, support: FactSet, words: usize, mut rules: Vec<(u32, usize)>) -> Self {
        rules.sort_unstable();
        let mut all = vec![0; words];
        let (mut ends, mut bits) = (Vec::new(), Vec::<(u32, u64)>::new());
        let mut start = 0;
        for &(mark, rule) in &rules {
            set(&mut all, rule);
            while ends.len() < mark as usize {
                ends.push(u32::try_from(bits.len()).unwrap_or(u32::MAX));
                start = bits.len();
            }
            let word = u32::try_from(rule / 64).unwrap_or(u32::MAX);
            let bit = 1 << (rule % 64);
            match bits.get_mut(start..).and_then(<[_]>::last_mut) {
                Some(last) if last.0 == word => last.1 |= bit,
                _ => bits.push((word, bit)),
            }
        }
        ends.push(u32::try_from(bits.len()).unwrap_or(u32::MAX));
        Self {
            key,
            support,
            first: rules.iter().map(|&(_, rule)| rule).min().unwrap_or(0),
            all: all.into_boxed_slice(),
            ends: ends.into_boxed_slice(),
            bits: bits.into_boxed_slice(),
        }
    }

    fn is_known(&self, view: &View<'_, '_>) -> bool {
        match self.key {
            Key::Host => view.known.contains(Fact::Host),
            Key::User => view.known.contains(Fact::User),
            Key::Client => view.known.contains(Fact::Client),
            Key::Destination => view.known.contains(Fact::Destination),
            Key::Group => {
                view.known.contains(Fact::Groups)
                    && view.tables.group_facts.without(view.known).is_empty()
            }
            Key::Tls => view.known.contains(Fact::Tls),
        }
    }

    #[inline]
    fn add(&self, mark: u32, candidates: &mut [u64]) {
        let mark = mark as usize;
        let Some(&end) = self.ends.get(mark) else {
            return;
        };
        let start = match mark.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or_default(),
            None => 0,
        };
        for &(word, bits) in self
            .bits
            .get(start as usize..end as usize)
            .unwrap_or_default()
        {
            if let Some(candidates) = candidates.get_mut(word as usize) {
                *candidates |= bits;
            }
        }
    }
}

fn set(words: &mut [u64], rule: usize) {
    if let Some(word) = words.get_mut(rule / 64) {
        *word |= 1 << (rule % 64);
    }
}

/// Under which marks of a key a rule may stand: every flow for which it does not come out False has
/// one of them.
fn marks(guard: &Guard, key: Key) -> Option<(Vec<u32>, FactSet)> {
    let literals = guard.0.iter().filter(|literal| !literal.negative);
    literals
        .filter_map(|literal| {
            let marks = match (key, &literal.check.test) {
                (
                    Key::Host,
                    Test::Host {
                        of: HostOf::Flow,
                        marks,
                        absent: false,
                    },
                )
                | (Key::Client, Test::Client(marks))
                | (Key::Destination, Test::Destination(marks)) => marks.to_vec(),
                (
                    Key::User,
                    Test::User {
                        users,
                        absent: false,
                    },
                ) => users.to_vec(),
                (
                    Key::Group,
                    Test::Group {
                        groups,
                        absent: false,
                    },
                ) => groups.to_vec(),
                (Key::Tls, Test::Tls(states)) => state_marks(*states),
                _ => return None,
            };
            Some((marks, literal.check.support))
        })
        .min_by_key(|(marks, _)| marks.len())
}

fn state_mark(tls: Tls) -> u32 {
    match tls {
        Tls::Hello => 0,
        Tls::Negotiated => 1,
        Tls::Not(reason) => 2 + reason as u32,
    }
}

/// The states of the negotiation for which a condition may hold, or may come to hold.
fn state_marks(states: TlsStates) -> Vec<u32> {
    let after = |stage| states.negotiated || states.reasons().any(|reason| reason.stage() >= stage);
    let open = [
        (Tls::Hello, after(Stage::ServerHello)),
        (Tls::Negotiated, after(Stage::Certificate)),
    ];
    let not = NotNegotiated::ALL.into_iter().map(|reason| {
        let negotiated = states.negotiated && reason.stage() == Stage::Certificate;
        (Tls::Not(reason), negotiated || states.contains(reason))
    });
    open.into_iter()
        .chain(not)
        .filter_map(|(tls, may)| may.then_some(state_mark(tls)))
        .collect()
}
