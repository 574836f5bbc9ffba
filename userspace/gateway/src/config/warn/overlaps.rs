//! What is in two lists, or belongs to two users.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use sluice_policy::{ListData, RuleSet};

/// Pairs of lists that are told of.
const MOST_PAIRS: usize = 20;

/// Entries that two lists share, and addresses that two users do.
pub(super) fn overlaps(set: &RuleSet) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["addresses", "domains", "urls"] {
        let lists: Vec<_> = set
            .lists
            .iter()
            .filter(|list| list.data.kind() == kind)
            .collect();
        if lists.len() < 2 {
            continue;
        }
        let pairs = shared(&lists.iter().map(|list| &list.data).collect::<Vec<_>>());
        let count = pairs.len();
        for ((one, other), Shared { count, example }) in pairs.into_iter().take(MOST_PAIRS) {
            let name = |index: usize| lists.get(index).map_or("?", |list| list.name.as_str());
            let (one, other) = (name(one), name(other));
            found.push(match count {
                1 => format!("lists \"{one}\" and \"{other}\" share 1 entry: {example}"),
                _ => format!(
                    "lists \"{one}\" and \"{other}\" share {count} entries, such as {example}"
                ),
            });
        }
        if let Some(more @ 1..) = count.checked_sub(MOST_PAIRS) {
            found.push(format!(
                "{more} more pairs of lists of {kind} share entries"
            ));
        }
    }
    found.extend(shared_addresses(set));
    found
}

struct Shared {
    count: usize,
    example: String,
}

/// What pairs of lists share. A million names are ordinary, so that each is hashed once, and is
/// written out only where it is the example.
fn shared(lists: &[&ListData]) -> BTreeMap<(usize, usize), Shared> {
    // The same every time, so that the same is said of the same lists.
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut hashes: Vec<(u64, usize)> = Vec::with_capacity(lists.iter().map(|l| l.len()).sum());
    for (index, list) in lists.iter().enumerate() {
        each(list, &mut |entry| {
            hashes.push((hasher.hash_one(entry), index));
        });
    }
    hashes.sort_unstable();
    hashes.dedup();
    let mut pairs: BTreeMap<(usize, usize), (usize, u64)> = BTreeMap::new();
    for run in hashes.chunk_by(|one, next| one.0 == next.0) {
        let mut rest = run;
        while let [(hash, one), tail @ ..] = rest {
            for (_, other) in tail {
                pairs.entry((*one, *other)).or_insert((0, *hash)).0 += 1;
            }
            rest = tail;
        }
    }
    let mut examples: HashMap<u64, String> = pairs
        .values()
        .map(|&(_, hash)| (hash, String::new()))
        .collect();
    // The first of every pair of lists has the example.
    let firsts: std::collections::BTreeSet<_> = pairs.keys().map(|&(first, _)| first).collect();
    for list in firsts.into_iter().filter_map(|first| lists.get(first)) {
        each(list, &mut |entry| {
            if let Some(example) = examples.get_mut(&hasher.hash_one(entry))
                && example.is_empty()
            {
                entry.clone_into(example);
            }
        });
    }
    pairs
        .into_iter()
        .map(|(pair, (count, hash))| {
            let example = examples.get(&hash).cloned().unwrap_or_default();
            (pair, Shared { count, example })
        })
        .collect()
}

fn each(list: &ListData, with: &mut dyn FnMut(&str)) {
    match list {
        ListData::Addresses(nets) => nets.iter().for_each(|net| with(&net.to_string())),
        ListData::Domains(names) => names.iter().for_each(|name| with(&name)),
        ListData::Urls(urls) => urls.iter().for_each(|url| with(&url.to_string())),
    }
}

/// Only one user can be meant by an address.
fn shared_addresses(set: &RuleSet) -> Option<String> {
    let mut owners = HashMap::new();
    let mut found: Option<(usize, String)> = None;
    for user in &set.users {
        for net in &user.nets {
            let first: &str = owners.entry(net).or_insert(user.name.as_str());
            if first == user.name {
                continue;
            }
            let example = || format!("{net} of \"{first}\" and \"{}\"", user.name);
            found = Some(match found {
                Some((count, example)) => (count + 1, example),
                None => (1, example()),
            });
        }
    }
    found.map(|(count, example)| match count {
        1 => format!("two users have one address, {example}: the first is meant"),
        _ => format!(
            "two users have one address {count} times, such as {example}: the first is meant"
        ),
    })
}
