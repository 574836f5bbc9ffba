//! Which lists and patterns a server name is in: one walk over its labels, however many there are.
//!
//! Names stand in a hash table with open addressing, each once, with the sets of marks that the
//! name itself and the names below it bear. A mark is a list, or the patterns of one condition. The
//! hash is keyed anew for every table, so that nobody can prepare names that collide, and is only a
//! hint: a name counts where it is equal.

use std::{collections::HashMap, sync::Arc};

use arrayvec::ArrayVec;

use crate::list::{DomainList, Reach};

/// A name has at most this many labels (RFC 1035 section 2.3.4).
const MOST_LABELS: usize = 128;

/// The longest name.
const MOST_BYTES: usize = 255;

/// Every set of marks that a name bears, none twice.
#[derive(Clone, Debug)]
pub(crate) struct Sets {
    marks: Vec<u32>,
    ends: Vec<u32>,
}

impl Sets {
    pub(crate) const EMPTY: u32 = 0;

    /// The marks of a set, in ascending order.
    #[inline]
    pub(crate) fn get(&self, set: u32) -> &[u32] {
        let set = set as usize;
        let start = match set.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or_default(),
            None => 0,
        };
        let end = self.ends.get(set).copied().unwrap_or_default();
        self.marks
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Makes sets by adding marks to sets; remembers what it made.
#[derive(Debug)]
pub(crate) struct SetsBuilder {
    sets: Sets,
    added: HashMap<(u32, u32), u32>,
    known: HashMap<Box<[u32]>, u32>,
}

impl Default for SetsBuilder {
    fn default() -> Self {
        Self {
            sets: Sets {
                marks: Vec::new(),
                ends: vec![0],
            },
            added: HashMap::new(),
            known: HashMap::from([(Box::default(), Sets::EMPTY)]),
        }
    }
}

impl SetsBuilder {
    /// The set with one mark more.
    pub(crate) fn with(&mut self, set: u32, mark: u32) -> u32 {
        if let Some(&made) = self.added.get(&(set, mark)) {
            return made;
        }
        let mut marks = self.sets.get(set).to_vec();
        if let Err(at) = marks.binary_search(&mark) {
            marks.insert(at, mark);
        }
        let next = u32::try_from(self.sets.ends.len()).unwrap_or(u32::MAX);
        let made = *self.known.entry(marks.as_slice().into()).or_insert(next);
        if made == next {
            self.sets.marks.extend_from_slice(&marks);
            let end = u32::try_from(self.sets.marks.len()).unwrap_or(u32::MAX);
            self.sets.ends.push(end);
        }
        self.added.insert((set, mark), made);
        made
    }

    pub(crate) fn finish(self) -> Sets {
        self.sets
    }
}

/// What the hash of names is keyed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey {
    pub(crate) seed: u64,
    /// Which bits of a hash count: all of them, but in a test that wants collisions.
    pub(crate) mask: u64,
}

impl HashKey {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            mask: u64::MAX,
        }
    }
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct DomainTable {
    key: HashKey,
    /// The upper half a part of the hash, the lower an index into `entries` plus one; 0: empty.
    slots: Box<[u64]>,
    entries: Box<[Entry]>,
    sources: Box<[Arc<DomainList>]>,
    sets: Sets,
    /// One bit for each number of labels that some name has; the last stands for all above.
    labels: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    source: u16,
    length: u8,
    itself: u32,
    below: u32,
}

/// Names to build a table from, and the mark they bear.
pub(crate) struct Source {
    pub(crate) list: Arc<DomainList>,
    pub(crate) marks: Marks,
}

/// The marks of a source's entries.
pub(crate) enum Marks {
    /// All have one.
    One(u32),
    /// The entries up to each number, excluded, have the mark beside it.
    Runs(Vec<(usize, u32)>),
}

impl Marks {
    fn at(&self, index: usize) -> u32 {
        match self {
            Self::One(mark) => *mark,
            Self::Runs(runs) => {
                let run = runs.partition_point(|&(end, _)| end <= index);
                runs.get(run).map_or(u32::MAX, |&(_, mark)| mark)
            }
        }
    }
}

impl DomainTable {
    /// Builds a table. There may be 65,536 sources.
    pub(crate) fn new(sources: &[Source], key: HashKey) -> Self {
        let names: usize = sources.iter().map(|source| source.list.len()).sum();
        let mut table = Self {
            key,
            slots: vec![0; names.max(1) * 2].into_boxed_slice(),
            entries: Box::default(),
            sources: sources.iter().map(|s| Arc::clone(&s.list)).collect(),
            sets: SetsBuilder::default().finish(),
            labels: 0,
        };
        let mut entries = Vec::with_capacity(names);
        let mut sets = SetsBuilder::default();
        for (number, source) in (0..=u16::MAX).zip(sources) {
            for (index, (start, name, reach)) in source.list.entries().enumerate() {
                let mark = source.marks.at(index);
                table.add(&mut entries, &mut sets, (number, start), name, reach, mark);
            }
        }
        table.entries = entries.into_boxed_slice();
        table.sets = sets.finish();
        table
    }

    fn add(
        &mut self,
        entries: &mut Vec<Entry>,
        sets: &mut SetsBuilder,
        (source, start): (u16, u32),
        name: &[u8],
        reach: Reach,
        mark: u32,
    ) {
        let mut suffixes = ArrayVec::new();
        suffixes_of(name, self.key, &mut suffixes);
        let Some(&Suffix { hash, .. }) = suffixes.last() else {
            return;
        };
        self.labels |= label_bit(suffixes.len());
        let mut at = slot_of(hash, self.slots.len());
        let tag = tag_of(hash);
        loop {
            let Some(slot) = self.slots.get_mut(at) else {
                return;
            };
            if *slot == 0 {
                let number = entries.len() as u64 + 1;
                *slot = tag | number;
                // The builder of a list has bounded the length of its names.
                let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
                let mut entry = Entry {
                    start,
                    source,
                    length,
                    itself: Sets::EMPTY,
                    below: Sets::EMPTY,
                };
                entry.bear(sets, reach, mark);
                entries.push(entry);
                return;
            }
            if *slot & TAG == tag {
                let index = (*slot & !TAG) as usize;
                if let Some(entry) = index.checked_sub(1).and_then(|i| entries.get_mut(i))
                    && entry.name(&self.sources) == Some(name)
                {
                    entry.bear(sets, reach, mark);
                    return;
                }
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    /// Calls `with` for every set of marks that a name bears, by itself or through a name above it.
    ///
    /// Letter case and one dot at the end do not matter.
    #[inline]
    pub(crate) fn marks(&self, host: &str, mut with: impl FnMut(&[u32])) {
        let name = host.strip_suffix('.').unwrap_or(host).as_bytes();
        if name.len() > MOST_BYTES || self.entries.is_empty() {
            return;
        }
        let mut lower = ArrayVec::<u8, MOST_BYTES>::new();
        let name = if name.iter().any(u8::is_ascii_uppercase) {
            lower.extend(name.iter().map(u8::to_ascii_lowercase));
            lower.as_slice()
        } else {
            name
        };
        let mut suffixes = ArrayVec::new();
        suffixes_of(name, self.key, &mut suffixes);
        let whole = suffixes.len();
        for (labels, suffix) in (1..).zip(&suffixes) {
            if self.labels & label_bit(labels) == 0 {
                continue;
            }
            let Some(entry) = self.find(suffix.hash, name.get(suffix.start as usize..)) else {
                continue;
            };
            let set = if labels == whole {
                entry.itself
            } else {
                entry.below
            };
            if set != Sets::EMPTY {
                with(self.sets.get(set));
            }
        }
    }

    #[inline]
    fn find(&self, hash: u64, name: Option<&[u8]>) -> Option<&Entry> {
        let tag = tag_of(hash);
        let mut at = slot_of(hash, self.slots.len());
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if slot & TAG == tag {
                let entry = self.entries.get(((slot & !TAG) as usize).checked_sub(1)?)?;
                if entry.name(&self.sources) == name {
                    return Some(entry);
                }
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    /// Bytes that the table takes, the names included.
    pub(crate) fn bytes(&self) -> usize {
        let names: usize = self.sources.iter().map(|list| list.bytes()).sum();
        size_of_val(&*self.slots) + size_of_val(&*self.entries) + names
    }

    /// How many different names there are.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    fn bear(&mut self, sets: &mut SetsBuilder, reach: Reach, mark: u32) {
        if reach.itself {
            self.itself = sets.with(self.itself, mark);
        }
        if reach.below {
            self.below = sets.with(self.below, mark);
        }
    }

    #[inline]
    fn name<'s>(&self, sources: &'s [Arc<DomainList>]) -> Option<&'s [u8]> {
        sources
            .get(usize::from(self.source))?
            .name(self.start, self.length)
    }
}

/// The end of a name, from the beginning of a label on.
#[derive(Clone, Copy)]
struct Suffix {
    hash: u64,
    start: u8,
}

/// The suffixes of a name with their hashes, the shortest first. A name of more labels than names
/// have ends up with none that is whole.
#[inline]
fn suffixes_of(name: &[u8], key: HashKey, suffixes: &mut ArrayVec<Suffix, MOST_LABELS>) {
    let mut hash = key.seed;
    let mut end = name.len();
    loop {
        let label = name.get(..end).unwrap_or_default();
        let start = label
            .iter()
            .rposition(|&byte| byte == b'.')
            .map_or(0, |dot| dot + 1);
        hash = mix(hash, label.get(start..).unwrap_or_default());
        let suffix = Suffix {
            hash: hash & key.mask,
            start: u8::try_from(start).unwrap_or(u8::MAX),
        };
        if suffixes.try_push(suffix).is_err() || start == 0 {
            return;
        }
        end = start - 1;
    }
}

/// Adds a label to a hash: eight bytes a step, each multiplied to twice its width and folded, as
/// wyhash and its kin do.
#[inline]
fn mix(mut hash: u64, label: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    const LENGTH: u64 = 0xd6e8_feb8_6659_fd93;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product >> 64) as u64 ^ product as u64
    };
    let mut chunks = label.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = fold(hash ^ word, FACTOR);
    }
    let mut last = 0;
    for &byte in chunks.remainder().iter().rev() {
        last = last << 8 | u64::from(byte);
    }
    let length = label.len() as u64;
    fold(hash ^ last, FACTOR ^ length.wrapping_mul(LENGTH))
}

const TAG: u64 = 0xffff_ffff_0000_0000;

/// The part of a hash that a slot keeps; the slot's place is chosen by the other end of it.
const fn tag_of(hash: u64) -> u64 {
    hash << 32
}

/// Spreads hashes evenly over any number of slots without a division.
#[inline]
const fn slot_of(hash: u64, slots: usize) -> usize {
    ((hash as u128 * slots as u128) >> 64) as usize
}

const fn label_bit(labels: usize) -> u64 {
    if labels < 64 { 1 << labels } else { 1 << 63 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::HostPattern, list::DomainListBuilder};
    use proptest::prelude::*;

    fn table(lists: &[Vec<String>], key: HashKey) -> DomainTable {
        let sources = (0..).zip(lists).map(|(mark, names)| {
            let mut builder = DomainListBuilder::default();
            for name in names {
                builder.add(name).unwrap();
            }
            Source {
                list: Arc::new(builder.finish()),
                marks: Marks::One(mark),
            }
        });
        DomainTable::new(&sources.collect::<Vec<_>>(), key)
    }

    fn marks(table: &DomainTable, host: &str) -> Vec<u32> {
        let mut all = Vec::new();
        table.marks(host, |set| all.extend_from_slice(set));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn plain(lists: &[Vec<String>], host: &str) -> Vec<u32> {
        let holds = |names: &Vec<String>| {
            names
                .iter()
                .any(|name| name.parse::<HostPattern>().unwrap().matches(host))
        };
        (0..)
            .zip(lists)
            .filter_map(|(mark, names)| holds(names).then_some(mark))
            .collect()
    }

    /// A hash never decides: where every name has the same, the answers are the same.
    #[test]
    fn planted_collisions_change_nothing() {
        let lists = [
            vec!["a.example".into(), ".b.example".into(), "c.example".into()],
            vec!["*.example".into(), "c.example".into()],
        ];
        let colliding = HashKey { seed: 7, mask: 0 };
        let table = table(&lists, colliding);
        for host in [
            "a.example",
            "x.b.example",
            "c.example",
            "d.example",
            "example",
            "x",
        ] {
            assert_eq!(marks(&table, host), plain(&lists, host), "{host}");
        }
    }

    #[test]
    fn names_at_the_limits_are_asked_for_without_harm() {
        let longest = "a.".repeat(126) + "b";
        let lists = [vec![longest.clone()]];
        let table = table(&lists, HashKey::new(1));
        assert_eq!(marks(&table, &longest), [0]);
        for host in [
            "",
            ".",
            "..",
            &"a.".repeat(300),
            &"a".repeat(400),
            "\u{e9}.b",
        ] {
            assert_eq!(marks(&table, host), [0; 0]);
        }
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_its_patterns(
            lists in proptest::collection::vec(
                proptest::collection::vec("(\\*\\.|\\.)?[ab](\\.[ab]){0,3}", 0..30), 0..4),
            host in "[abAB](\\.[ab]){0,4}\\.?",
            seed: u64,
            mask in prop_oneof![Just(u64::MAX), Just(0xff), Just(0xff << 56)],
        ) {
            let table = table(&lists, HashKey { seed, mask });
            prop_assert_eq!(marks(&table, &host), plain(&lists, &host));
        }
    }
}
