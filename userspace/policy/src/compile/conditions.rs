//! From the conditions as written to what answers them.

use std::collections::{BTreeSet, HashMap};

use super::{CompileError, FlatRule, tables::memberships};
use crate::{
    guard::{Guard, Literal},
    host::HostPattern,
    list::{DomainListBuilder, ListData},
    lookup::{HostOf, TextOf},
    matcher::{Check, Test},
    net::Net,
    rule::{AddressItem, Condition, GroupId, HostItem, ListId, RuleSet, UrlItem},
    stage::{Fact, FactSet, Stage},
    text::TextPattern,
};

/// Regular expressions about one text.
#[derive(Default)]
pub(super) struct RegexSet<'s> {
    pub(super) key: &'static str,
    pub(super) patterns: Vec<&'s str>,
}

pub(super) struct Compiler<'s> {
    pub(super) set: &'s RuleSet,
    pub(super) clients: Vec<(Net, u32)>,
    pub(super) destinations: Vec<(Net, u32)>,
    /// Marks below the number of lists stand for lists, those from there on for conditions.
    pub(super) next_client: u32,
    pub(super) next_destination: u32,
    pub(super) used_lists: BTreeSet<(usize, u8)>,
    pub(super) names: DomainListBuilder,
    pub(super) name_runs: Vec<(usize, u32)>,
    pub(super) next_host: u32,
    pub(super) users: HashMap<Box<str>, u32>,
    pub(super) user_names: Vec<Box<str>>,
    pub(super) groups: Vec<BTreeSet<usize>>,
    pub(super) group_facts: FactSet,
    pub(super) texts: Vec<RegexSet<'s>>,
    pub(super) text_sets: HashMap<TextOf, u32>,
    pub(super) headers: Vec<Box<str>>,
}

impl<'s> Compiler<'s> {
    pub(super) fn new(set: &'s RuleSet) -> Result<Self, CompileError> {
        let lists = u32::try_from(set.lists.len()).unwrap_or(u32::MAX);
        let mut compiler = Self {
            set,
            clients: Vec::new(),
            destinations: Vec::new(),
            next_client: lists,
            next_destination: lists,
            used_lists: BTreeSet::new(),
            names: DomainListBuilder::default(),
            name_runs: Vec::new(),
            next_host: lists,
            users: HashMap::new(),
            user_names: Vec::new(),
            groups: memberships(set)?,
            group_facts: FactSet::of(Fact::Groups),
            texts: Vec::new(),
            text_sets: HashMap::new(),
            headers: Vec::new(),
        };
        let by_address = set.users.iter().any(|user| !user.nets.is_empty());
        if set.groups.iter().any(|group| !group.nets.is_empty()) {
            compiler.group_facts = compiler.group_facts.union(FactSet::of(Fact::Client));
        }
        if set.groups.iter().any(|group| !group.users.is_empty()) {
            compiler.group_facts = compiler.group_facts.union(FactSet::of(Fact::User));
            if by_address {
                compiler.group_facts = compiler.group_facts.union(FactSet::of(Fact::Client));
            }
        }
        for user in &set.users {
            compiler.user(&user.name);
        }
        for name in set.groups.iter().flat_map(|group| &group.users) {
            compiler.user(name);
        }
        Ok(compiler)
    }

    fn user(&mut self, name: &str) -> u32 {
        if let Some(&user) = self.users.get(name) {
            return user;
        }
        let user = u32::try_from(self.user_names.len()).unwrap_or(u32::MAX);
        self.users.insert(name.into(), user);
        self.user_names.push(name.into());
        user
    }

    pub(super) fn guard(&mut self, rule: &FlatRule<'s>) -> Result<Guard, CompileError> {
        let positive = rule.when().map(|condition| (condition, false));
        let negative = rule.unless().map(|condition| (condition, true));
        let mut literals = Vec::new();
        for (place, (condition, negative)) in (0..).zip(positive.chain(negative)) {
            literals.push(Literal {
                check: self.check(condition)?,
                negative,
                place,
            });
        }
        // What is known early and asked quickly excludes a rule before the rest is looked at.
        literals.sort_by_key(|literal| literal.check.fact.stage());
        Ok(Guard(literals.into_boxed_slice()))
    }

    fn check(&mut self, condition: &'s Condition) -> Result<Check, CompileError> {
        let key = condition.key();
        let test = match condition {
            Condition::Not(inner) => {
                let inner: Result<Vec<_>, _> = inner
                    .iter()
                    .map(|condition| self.check(condition))
                    .collect();
                return Ok(Check::not(inner?.into_boxed_slice()));
            }
            Condition::Alpn(names) => Test::Alpn {
                names: names
                    .iter()
                    .flatten()
                    .map(|name| name.as_slice().into())
                    .collect(),
                absent: names.iter().any(Option::is_none),
            },
            Condition::Application(names) => Test::Application {
                names: names
                    .iter()
                    .flatten()
                    .map(|name| name.as_str().into())
                    .collect(),
                absent: names.iter().any(Option::is_none),
            },
            Condition::Certificate(states) => Test::Certificate(*states),
            Condition::Client(items) => Test::Client(self.addresses(items, key, Side::Client)?),
            Condition::ClientCertificate(requested) => Test::ClientCertificate(*requested),
            Condition::ConnectHost(items) => {
                self.hosts(HostOf::Connect, items.iter().map(Option::as_ref), key)?
            }
            Condition::ConnectPort(ranges) => Test::ConnectPort(ranges.as_slice().into()),
            Condition::ConnectUserAgent(values) => self.text(
                TextOf::ConnectUserAgent,
                values.iter().map(Option::as_ref),
                key,
            ),
            Condition::ContentType(values) => {
                self.text(TextOf::ContentType, values.iter().map(Option::as_ref), key)
            }
            Condition::Destination(items) => {
                Test::Destination(self.addresses(items, key, Side::Destination)?)
            }
            Condition::Ech(offered) => Test::Ech(*offered),
            Condition::Group(groups) => {
                let mut numbers = Vec::new();
                for &GroupId(group) in groups.iter().flatten() {
                    if group >= self.set.groups.len() {
                        return Err(CompileError::UnknownGroup(group));
                    }
                    numbers.push(u32::try_from(group).unwrap_or(u32::MAX));
                }
                numbers.sort_unstable();
                Test::Group {
                    groups: numbers.into_boxed_slice(),
                    absent: groups.iter().any(Option::is_none),
                }
            }
            Condition::Header { name, values } => {
                let known = self.headers.iter().position(|header| **header == **name);
                let index = known.unwrap_or_else(|| {
                    self.headers.push(name.as_str().into());
                    self.headers.len() - 1
                });
                let of = TextOf::Header(u32::try_from(index).unwrap_or(u32::MAX));
                self.text(of, values.iter().map(Option::as_ref), key)
            }
            Condition::Host(items) => {
                self.hosts(HostOf::Flow, items.iter().map(Option::as_ref), key)?
            }
            Condition::ConnectHostIsIp(expected) => Test::ConnectHostIsIp(*expected),
            Condition::HostIsIp(expected) => Test::HostIsIp(*expected),
            Condition::HostMismatch(expected) => Test::HostMismatch(*expected),
            Condition::Inner(names) => Test::Inner {
                names: names
                    .iter()
                    .flatten()
                    .map(|name| name.as_str().into())
                    .collect(),
                absent: names.iter().any(Option::is_none),
            },
            Condition::Inspected(expected) => Test::Inspected(*expected),
            Condition::Issuer(values) => {
                self.text(TextOf::Issuer, values.iter().map(Option::as_ref), key)
            }
            Condition::Ja4(patterns) => Test::Ja4(patterns.as_slice().into()),
            Condition::Listener(patterns) => Test::Listener(patterns.as_slice().into()),
            Condition::Method(methods) => Test::Method(
                methods
                    .iter()
                    .map(|method| method.as_str().into())
                    .collect(),
            ),
            Condition::Path(values) => self.text(TextOf::Path, values.iter().map(Some), key),
            Condition::Port(ranges) => Test::Port(ranges.as_slice().into()),
            Condition::Schedule(schedules) => {
                let found = schedules.iter().map(|schedule| {
                    let found = self.set.schedules.get(schedule.0);
                    found
                        .cloned()
                        .ok_or(CompileError::UnknownSchedule(schedule.0))
                });
                Test::Schedule(found.collect::<Result<_, _>>()?)
            }
            Condition::Size(ranges) => Test::Size(ranges.as_slice().into()),
            Condition::Tls(states) => Test::Tls(*states),
            Condition::TlsVersion(versions) => Test::TlsVersion(*versions),
            Condition::TlsVersionChosen(versions) => Test::TlsVersionChosen(*versions),
            Condition::Url(items) => self.urls(items, key)?,
            Condition::UrlHost(items) => self.hosts(HostOf::Url, items.iter().map(Some), key)?,
            Condition::UrlHostIsIp(expected) => Test::UrlHostIsIp(*expected),
            Condition::UserAgent(values) => {
                self.text(TextOf::UserAgent, values.iter().map(Option::as_ref), key)
            }
            Condition::User(names) => {
                let mut users: Vec<_> = names.iter().flatten().map(|n| self.user(n)).collect();
                users.sort_unstable();
                Test::User {
                    users: users.into_boxed_slice(),
                    absent: names.iter().any(Option::is_none),
                }
            }
        };
        let fact = condition.fact().unwrap_or(Fact::Client);
        let support = self.support(condition, fact);
        Ok(Check::new(test, fact, support))
    }

    fn support(&self, condition: &Condition, fact: Fact) -> FactSet {
        let with = |more: &[Fact]| FactSet::of(fact).union(FactSet::of_all(more));
        match condition {
            Condition::Group(_) => self.group_facts,
            Condition::User(_) if self.set.users.iter().any(|user| !user.nets.is_empty()) => {
                with(&[Fact::Client])
            }
            Condition::HostIsIp(_) => with(&[Fact::Host]),
            Condition::HostMismatch(_) => with(&[Fact::Host, Fact::ConnectHost]),
            // Where the certificate could not be had there are no requests either.
            Condition::UserAgent(_) | Condition::ContentType(_) => {
                with(&[Fact::Headers, Fact::Certificate])
            }
            Condition::Issuer(_) | Condition::ClientCertificate(_) => with(&[Fact::Certificate]),
            Condition::Tls(states)
                if states
                    .reasons()
                    .any(|reason| reason.stage() == Stage::Certificate) =>
            {
                with(&[Fact::Certificate])
            }
            _ if fact.stage() == Stage::Request => with(&[Fact::Certificate]),
            _ => FactSet::of(fact),
        }
    }

    fn list(&self, id: ListId, key: &'static str) -> Result<(&'s ListData, u32), CompileError> {
        let list = self.set.lists.get(id.0);
        let data = list.map(|list| &list.data);
        let mark = u32::try_from(id.0).unwrap_or(u32::MAX);
        Ok((data.ok_or(CompileError::UnknownList(id.0, key))?, mark))
    }

    fn addresses(
        &mut self,
        items: &'s [AddressItem],
        key: &'static str,
        side: Side,
    ) -> Result<Box<[u32]>, CompileError> {
        let mut marks = Vec::new();
        let mut inline = None;
        for item in items {
            match *item {
                AddressItem::List(id) => {
                    let (data, mark) = self.list(id, key)?;
                    let ListData::Addresses(nets) = data else {
                        return Err(CompileError::UnknownList(id.0, key));
                    };
                    marks.push(mark);
                    if self.used_lists.insert((id.0, side as u8)) {
                        let marked = nets.iter().map(|&net| (net, mark));
                        self.side(side).0.extend(marked);
                    }
                }
                AddressItem::Net(net) => {
                    let (nets, next) = self.side(side);
                    let mark = *inline.get_or_insert_with(|| {
                        *next += 1;
                        *next - 1
                    });
                    nets.push((net, mark));
                }
            }
        }
        marks.extend(inline);
        marks.sort_unstable();
        Ok(marks.into_boxed_slice())
    }

    const fn side(&mut self, side: Side) -> (&mut Vec<(Net, u32)>, &mut u32) {
        match side {
            Side::Client => (&mut self.clients, &mut self.next_client),
            _ => (&mut self.destinations, &mut self.next_destination),
        }
    }

    fn hosts(
        &mut self,
        of: HostOf,
        items: impl Iterator<Item = Option<&'s HostItem>>,
        key: &'static str,
    ) -> Result<Test, CompileError> {
        let mut marks = Vec::new();
        let mut inline = None;
        let mut absent = false;
        for item in items {
            match item {
                None => absent = true,
                Some(HostItem::List(id)) => {
                    let (data, mark) = self.list(*id, key)?;
                    if !matches!(data, ListData::Domains(_)) {
                        return Err(CompileError::UnknownList(id.0, key));
                    }
                    self.used_lists.insert((id.0, Side::Host as u8));
                    marks.push(mark);
                }
                Some(HostItem::Pattern(pattern)) => {
                    let next = &mut self.next_host;
                    let mark = *inline.get_or_insert_with(|| {
                        *next += 1;
                        *next - 1
                    });
                    self.name(pattern, mark);
                }
            }
        }
        marks.extend(inline);
        marks.sort_unstable();
        Ok(Test::Host {
            of,
            marks: marks.into_boxed_slice(),
            absent,
        })
    }

    fn name(&mut self, pattern: &HostPattern, mark: u32) {
        // A pattern that was read is a name, so that it can be added.
        let _ = self.names.add(&pattern.to_string());
        let end = self.names.len();
        match self.name_runs.last_mut() {
            Some(run) if run.1 == mark => run.0 = end,
            _ => self.name_runs.push((end, mark)),
        }
    }

    fn urls(&mut self, items: &'s [UrlItem], key: &'static str) -> Result<Test, CompileError> {
        let (mut lists, mut names) = (Vec::new(), Vec::new());
        let mut patterns = Vec::new();
        for item in items {
            match item {
                UrlItem::Pattern(pattern) => patterns.push(pattern),
                UrlItem::List(id) => {
                    let (data, mark) = self.list(*id, key)?;
                    match data {
                        ListData::Urls(_) => {
                            self.used_lists.insert((id.0, Side::Url as u8));
                            lists.push(mark);
                        }
                        ListData::Domains(_) => {
                            self.used_lists.insert((id.0, Side::Host as u8));
                            names.push(mark);
                        }
                        ListData::Addresses(_) => {
                            return Err(CompileError::UnknownList(id.0, key));
                        }
                    }
                }
            }
        }
        lists.sort_unstable();
        names.sort_unstable();
        let mut tests = Vec::new();
        if !lists.is_empty() {
            tests.push(Test::UrlLists(lists.into_boxed_slice()));
        }
        if !names.is_empty() {
            tests.push(Test::Host {
                of: HostOf::Url,
                marks: names.into_boxed_slice(),
                absent: false,
            });
        }
        if !patterns.is_empty() {
            tests.push(self.text(TextOf::Url, patterns.into_iter().map(Some), key));
        }
        let checks = tests
            .into_iter()
            .map(|test| Check::new(test, Fact::Url, FactSet::of(Fact::Url)));
        Ok(Test::Any(checks.collect()))
    }

    fn text(
        &mut self,
        of: TextOf,
        values: impl Iterator<Item = Option<&'s TextPattern>>,
        key: &'static str,
    ) -> Test {
        let (mut prefixes, mut exact, mut regexes) = (Vec::new(), Vec::new(), Vec::new());
        let mut absent = false;
        let mut set = 0;
        for value in values {
            match value {
                None => absent = true,
                Some(TextPattern::Prefix(text)) => prefixes.push(text.clone()),
                Some(TextPattern::Exact(text)) => exact.push(text.clone()),
                Some(TextPattern::Regex(text)) => {
                    let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
                    set = *self.text_sets.entry(of).or_insert(next);
                    if set == next {
                        self.texts.push(RegexSet {
                            key,
                            patterns: Vec::new(),
                        });
                    }
                    if let Some(about) = self.texts.get_mut(set as usize) {
                        regexes.push(u32::try_from(about.patterns.len()).unwrap_or(u32::MAX));
                        about.patterns.push(text);
                    }
                }
            }
        }
        Test::Text {
            of,
            set,
            prefixes: prefixes.into_boxed_slice(),
            exact: exact.into_boxed_slice(),
            regexes: regexes.into_boxed_slice(),
            absent,
        }
    }
}

/// What a list is used for.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Side {
    Client,
    Destination,
    Host,
    Url,
}
