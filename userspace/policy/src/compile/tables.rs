//! The tables that the conditions of a policy share.

use std::{collections::BTreeSet, sync::Arc};

use regex_automata::meta::{Builder, Regex};

use super::{
    CompileError,
    conditions::{Compiler, Side},
};
use crate::{
    addresses::AddressTable,
    domains::{DomainTable, HashKey, Marks, Source},
    list::{DomainListBuilder, ListData},
    lookup::{ClientClass, Tables, UrlTable},
    rule::{GroupId, RuleSet},
    text::{SET_LIMIT, limits},
};

impl Compiler<'_> {
    pub(super) fn finish(mut self, key: HashKey) -> Result<Tables, CompileError> {
        let hosts = self.host_table(key)?;
        let urls = self.url_table(key);
        let closure: Vec<Box<[u32]>> = self
            .groups
            .iter()
            .map(|groups| {
                groups
                    .iter()
                    .filter_map(|&g| u32::try_from(g).ok())
                    .collect()
            })
            .collect();
        let mut user_groups = vec![BTreeSet::new(); self.user_names.len()];
        for (group, all) in self.set.groups.iter().zip(&closure) {
            for name in &group.users {
                if let Some(groups) = self
                    .users
                    .get(name.as_str())
                    .and_then(|&user| user_groups.get_mut(user as usize))
                {
                    groups.extend(all.iter().copied());
                }
            }
        }
        let (clients, client_classes) = self.client_table(&closure);
        let texts = self.texts.iter().map(|set| {
            let regex: Result<Regex, _> = Builder::new()
                .configure(limits(SET_LIMIT))
                .build_many(&set.patterns);
            regex.map_err(|_| CompileError::Regexes { key: set.key })
        });
        let group_names: Box<[Box<str>]> = self
            .set
            .groups
            .iter()
            .map(|group| group.name.as_str().into())
            .collect();
        Ok(Tables {
            clients,
            client_classes,
            destinations: AddressTable::new(std::mem::take(&mut self.destinations)),
            hosts,
            groups_by_name: (0..)
                .zip(&group_names)
                .map(|(id, n)| (n.clone(), id))
                .collect(),
            group_names,
            group_closure: closure.into_boxed_slice(),
            group_facts: self.group_facts,
            user_groups: user_groups
                .into_iter()
                .map(|groups| groups.into_iter().collect())
                .collect(),
            users: self.users,
            user_names: self.user_names.into_boxed_slice(),
            urls,
            texts: texts.collect::<Result<_, _>>()?,
            headers: self.headers.into_boxed_slice(),
        })
    }

    /// Client addresses: what conditions name, the groups and the users.
    fn client_table(&self, closure: &[Box<[u32]>]) -> (AddressTable, Box<[ClientClass]>) {
        let first_group = self.next_client;
        let groups = u32::try_from(self.set.groups.len()).unwrap_or(u32::MAX);
        let first_user = first_group + groups;
        let mut marked = self.clients.clone();
        for (mark, group) in (first_group..).zip(&self.set.groups) {
            marked.extend(group.nets.iter().map(|&net| (net, mark)));
        }
        for (mark, user) in (first_user..).zip(&self.set.users) {
            marked.extend(user.nets.iter().map(|&net| (net, mark)));
        }
        let table = AddressTable::new(marked);
        let classes = (0..table.sets()).map(|set| {
            let marks = table.marks(u32::try_from(set).unwrap_or(u32::MAX));
            let mut class = ClientClass::default();
            let (mut plain, mut groups) = (Vec::new(), BTreeSet::new());
            for &mark in marks {
                if mark < first_group {
                    plain.push(mark);
                } else if mark < first_user {
                    let all = closure.get((mark - first_group) as usize);
                    groups.extend(all.into_iter().flatten().copied());
                } else if class.user.is_none() {
                    let user = self.set.users.get((mark - first_user) as usize);
                    class.user = user.and_then(|user| self.users.get(user.name.as_str()).copied());
                }
            }
            class.marks = plain.into_boxed_slice();
            class.groups = groups.into_iter().collect();
            class
        });
        let classes = classes.collect();
        (table, classes)
    }

    fn host_table(&mut self, key: HashKey) -> Result<DomainTable, CompileError> {
        let inline = Source {
            list: Arc::new(std::mem::take(&mut self.names).finish()),
            marks: Marks::Runs(std::mem::take(&mut self.name_runs)),
        };
        let mut sources = vec![inline];
        for (index, list) in self.set.lists.iter().enumerate() {
            let used = self.used_lists.contains(&(index, Side::Host as u8));
            if let (true, ListData::Domains(names)) = (used, &list.data) {
                sources.push(Source {
                    list: Arc::clone(names),
                    marks: Marks::One(u32::try_from(index).unwrap_or(u32::MAX)),
                });
            }
        }
        if sources.len() > usize::from(u16::MAX) {
            return Err(CompileError::TooManyLists);
        }
        Ok(DomainTable::new(&sources, key))
    }

    fn url_table(&self, key: HashKey) -> UrlTable {
        let mut names = DomainListBuilder::default();
        let mut runs = Vec::new();
        let mut entries = Vec::new();
        for (index, list) in self.set.lists.iter().enumerate() {
            let used = self.used_lists.contains(&(index, Side::Url as u8));
            let ListData::Urls(urls) = &list.data else {
                continue;
            };
            for url in urls.iter().filter(|_| used) {
                // A pattern that was read is a name, so that it can be added.
                let _ = names.add(&url.host.to_string());
                runs.push((
                    names.len(),
                    u32::try_from(entries.len()).unwrap_or(u32::MAX),
                ));
                entries.push((url.clone(), u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
        let source = Source {
            list: Arc::new(names.finish()),
            marks: Marks::Runs(runs),
        };
        UrlTable {
            hosts: DomainTable::new(&[source], key),
            entries: entries.into_boxed_slice(),
        }
    }
}

/// For each group itself and every group that its members are in too.
pub(super) fn memberships(set: &RuleSet) -> Result<Vec<BTreeSet<usize>>, CompileError> {
    let mut outer = vec![Vec::new(); set.groups.len()];
    for (index, group) in set.groups.iter().enumerate() {
        for &GroupId(inner) in &group.groups {
            outer
                .get_mut(inner)
                .ok_or(CompileError::UnknownGroup(inner))?
                .push(index);
        }
    }
    let mut all = Vec::with_capacity(outer.len());
    for start in 0..outer.len() {
        let mut seen = BTreeSet::from([start]);
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            for &around in outer.get(at).into_iter().flatten() {
                if around == start {
                    let group = set.groups.get(start).map(|group| group.name.clone());
                    return Err(CompileError::GroupCycle {
                        group: group.unwrap_or_default(),
                    });
                }
                if seen.insert(around) {
                    open.push(around);
                }
            }
        }
        all.push(seen);
    }
    Ok(all)
}
