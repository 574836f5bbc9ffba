//! From the rules as written to what decides.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
};

use regex_automata::meta::{Builder, Regex};

use crate::{
    addresses::AddressTable,
    domains::{DomainTable, HashKey, Marks, Source},
    facts::Facts,
    host::HostPattern,
    index::Index,
    list::{DomainListBuilder, ListData},
    lookup::{ClientClass, HostOf, Tables, TextOf, UrlTable},
    matcher::{Check, Guard, Literal, Test},
    net::Net,
    rule::{
        Action, AddressItem, Condition, GroupId, HostItem, ListId, Rule, RuleBody, RuleSet, UrlItem,
    },
    running::{Disposition, Effect},
    stage::{Fact, FactSet, Stage},
    text::{SET_LIMIT, TextPattern, limits},
};

/// Containers may be nested this deep.
pub const MAX_DEPTH: usize = 8;

/// A compiled policy: immutable, and shared by every flow that is decided under it.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) compiled: Box<[Compiled]>,
    pub(crate) tables: Tables,
    pub(crate) index: Index,
    pub(crate) defaults: EndDispositions,
    rules: Box<[RuleInfo]>,
}

/// Number of a rule in the order of evaluation; containers are not counted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(pub u32);

/// What there is to say about a rule.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// The rule's name.
    pub name: String,
    /// The names of its containers, the outermost first.
    pub containers: Vec<String>,
    /// What the rule does.
    pub action: Action,
    /// Whether the walk ends where an allow or a block holds.
    pub last: bool,
    /// What a page says.
    pub message: Option<String>,
    /// Tags that the record of a flow gets where the rule holds.
    pub tags: Vec<String>,
    /// The deepest stage that the rule's conditions and those of its containers may need.
    pub stage: Stage,
    /// The stages whose facts the rule's conditions and those of its containers ask for.
    pub stages: Vec<Stage>,
    /// Whether the rule holds for every flow that reaches it.
    pub unconditional: bool,
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Containers inside containers inside containers.
    #[error("rule \"{rule}\" lies deeper than {MAX_DEPTH} containers: split the outer ones")]
    Depth {
        /// The rule that lies too deep.
        rule: String,
    },
    /// A group is a member of itself.
    #[error("group \"{group}\" is a member of itself: take it out of its own members")]
    GroupCycle {
        /// A group of the circle.
        group: String,
    },
    /// The regular expressions about one fact need too much memory together.
    #[error("the regular expressions of `{key}` are too large together: use fewer, or prefixes")]
    Regexes {
        /// The key of the condition.
        key: &'static str,
    },
    /// A rule that leaves its container lies in none.
    #[error("rule \"{rule}\" says \"skip\" and lies in no container")]
    SkipOutside {
        /// The rule.
        rule: String,
    },
    /// More lists of domains than a table can tell apart.
    #[error("there are more than 65,535 lists of domains: merge some")]
    TooManyLists,
    /// A number that stands for no group.
    #[error("there is no group of number {0}")]
    UnknownGroup(usize),
    /// A number that stands for no list, or for a list of another kind.
    #[error("there is no list of number {0} and of the kind that `{1}` needs")]
    UnknownList(usize, &'static str),
    /// A number that stands for no schedule.
    #[error("there is no schedule of number {0}")]
    UnknownSchedule(usize),
}

/// What stands for flows that no rule decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndDispositions {
    pub(crate) identified: Disposition,
    pub(crate) unidentified: Disposition,
}

#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) guard: Guard,
    pub(crate) effect: Effect,
    /// The first rule behind its container.
    pub(crate) to: u32,
    /// The earliest stage that its conditions ask about.
    pub(crate) first_stage: Stage,
    /// Whether the rule is Unknown up to that stage, whatever is known.
    pub(crate) waits: bool,
}

impl Policy {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// [`CompileError`], where the rules contradict themselves.
    pub fn compile(set: &RuleSet) -> Result<Self, CompileError> {
        // The standard library seeds its hasher from the system, so that nobody can foresee it.
        Self::compile_keyed(set, RandomState::new().hash_one(0))
    }

    /// Compiles the rules with a known key for the hash of names, so that instructions can be
    /// counted. Names from outside could be made to collide.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::compile`].
    pub fn compile_keyed(set: &RuleSet, key: u64) -> Result<Self, CompileError> {
        let flat = set.flat()?;
        let mut compiler = Compiler::new(set)?;
        let mut compiled = Vec::with_capacity(flat.len());
        let mut rules = Vec::with_capacity(flat.len());
        for rule in &flat {
            let guard = compiler.guard(rule)?;
            let stages: BTreeSet<Stage> = rule.conditions().flat_map(stages_of).collect();
            compiled.push(Compiled {
                effect: Effect::of(rule.action, rule.last),
                to: rule.to,
                first_stage: stages.first().copied().unwrap_or(Stage::Packet),
                // That this condition does not apply is known as soon as the listener is.
                waits: !guard.asks(Fact::HostMismatch),
                guard,
            });
            rules.push(RuleInfo {
                name: rule.rule.name.clone(),
                containers: rule.containers.iter().map(|c| c.name.clone()).collect(),
                action: rule.action.clone(),
                last: rule.last,
                message: rule.message.map(str::to_owned),
                tags: rule.rule.tags.clone(),
                stage: stages.last().copied().unwrap_or(Stage::Packet),
                stages: stages.into_iter().collect(),
                unconditional: rule.unconditional,
            });
        }
        let guards: Vec<_> = compiled.iter().map(|rule| &rule.guard).collect();
        let index = Index::new(&guards);
        Ok(Self {
            compiled: compiled.into_boxed_slice(),
            tables: compiler.finish(HashKey::new(key))?,
            index,
            defaults: EndDispositions {
                identified: set.defaults.identified.into(),
                unidentified: set.defaults.unidentified.into(),
            },
            rules: rules.into_boxed_slice(),
        })
    }

    /// The rules in the order of evaluation; a [`RuleId`] is an index into them.
    #[must_use]
    pub const fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// A rule of this policy; `None` for a number of another.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleInfo> {
        self.rules.get(id.0 as usize)
    }

    /// The rules with a condition on a fact that becomes known at a stage.
    pub fn asks(&self, stage: Stage) -> impl Iterator<Item = RuleId> {
        (0..)
            .zip(&self.rules)
            .filter(move |(_, rule)| rule.stages.contains(&stage))
            .map(|(id, _)| RuleId(id))
    }

    /// Who is known to have an address.
    #[must_use]
    pub fn user_at(&self, address: IpAddr) -> Option<&str> {
        let user = self.tables.client_class(address)?.user?;
        self.tables
            .user_names
            .get(user as usize)
            .map(|name| &**name)
    }

    /// The groups that a flow's client and user are in, by name.
    #[must_use]
    pub fn groups_of(&self, facts: &Facts<'_>) -> Vec<&str> {
        let mut looked = crate::lookup::Lookups::default();
        let groups = looked.groups(&self.tables, facts, facts.known());
        let groups: BTreeSet<u32> = groups.iter().copied().collect();
        groups
            .into_iter()
            .filter_map(|group| self.tables.group_names.get(group as usize))
            .map(|name| &**name)
            .collect()
    }

    /// Different names of servers that the policy knows, and the bytes that they take.
    #[must_use]
    pub fn domains(&self) -> (usize, usize) {
        (self.tables.hosts.len(), self.tables.hosts.bytes())
    }

    /// Whether a default refuses flows, and how; the one for identified flows first.
    pub(crate) const fn shows_page_by_default(&self) -> bool {
        matches!(self.defaults.identified, Disposition::Page)
            || matches!(self.defaults.unidentified, Disposition::Page)
    }
}

/// The stages whose facts a condition asks for, those of a negation's inner conditions included.
fn stages_of(condition: &Condition) -> Vec<Stage> {
    match condition {
        Condition::Not(inner) => inner.iter().flat_map(stages_of).collect(),
        Condition::Tls(states) => {
            let mut stages = vec![Stage::Hello];
            stages.extend(states.negotiated.then_some(Stage::ServerHello));
            stages.extend(states.reasons().map(crate::facts::NotNegotiated::stage));
            stages
        }
        condition => condition.fact().map(Fact::stage).into_iter().collect(),
    }
}

/// A rule that acts, with everything that its containers add to it.
#[derive(Clone, Debug)]
pub struct FlatRule<'s> {
    /// The rule.
    pub rule: &'s Rule,
    /// Its containers, the outermost first.
    pub containers: Vec<&'s Rule>,
    /// What it does.
    pub action: &'s Action,
    /// Whether the walk ends where an allow or a block holds.
    pub last: bool,
    /// What a page says.
    pub message: Option<&'s str>,
    /// The first rule behind its container, or behind all rules.
    to: u32,
    unconditional: bool,
}

impl<'s> FlatRule<'s> {
    /// The conditions that must all hold, those of the containers first.
    pub fn when(&self) -> impl Iterator<Item = &'s Condition> {
        let rules = self.containers.iter().copied().chain([self.rule]);
        rules.flat_map(|rule| &rule.when)
    }

    /// The exceptions, those of the containers first.
    pub fn unless(&self) -> impl Iterator<Item = &'s Condition> {
        let rules = self.containers.iter().copied().chain([self.rule]);
        rules.flat_map(|rule| &rule.unless)
    }

    /// Whether the rule holds for every flow that reaches it, and every flow reaches it that no rule
    /// before it has ended.
    pub(crate) const fn is_unconditional(&self) -> bool {
        self.unconditional
    }

    fn conditions(&self) -> impl Iterator<Item = &'s Condition> {
        self.when().chain(self.unless())
    }
}

impl RuleSet {
    /// The rules that act, in the order of evaluation.
    ///
    /// # Errors
    ///
    /// [`CompileError::Depth`] and [`CompileError::SkipOutside`].
    pub fn flat(&self) -> Result<Vec<FlatRule<'_>>, CompileError> {
        let mut flat = Vec::new();
        flatten(&self.rules, &mut Vec::new(), true, &mut flat)?;
        Ok(flat)
    }
}

fn flatten<'s>(
    rules: &'s [Rule],
    containers: &mut Vec<&'s Rule>,
    mut always: bool,
    flat: &mut Vec<FlatRule<'s>>,
) -> Result<(), CompileError> {
    let first = flat.len();
    for rule in rules {
        if containers.len() > MAX_DEPTH {
            return Err(CompileError::Depth {
                rule: rule.name.clone(),
            });
        }
        let unconditional = always && rule.when.is_empty() && rule.unless.is_empty();
        match &rule.body {
            RuleBody::Contain(inner) => {
                containers.push(rule);
                let begin = flat.len();
                flatten(inner, containers, unconditional, flat)?;
                containers.pop();
                let end = u32::try_from(flat.len()).unwrap_or(u32::MAX);
                for inside in flat.iter_mut().skip(begin) {
                    if inside.to == u32::MAX {
                        inside.to = end;
                    }
                }
            }
            RuleBody::Act {
                action,
                last,
                message,
            } => {
                if *action == Action::Skip {
                    if containers.is_empty() {
                        return Err(CompileError::SkipOutside {
                            rule: rule.name.clone(),
                        });
                    }
                    // Who may have left the container does not reach every rule after.
                    always = false;
                }
                flat.push(FlatRule {
                    rule,
                    containers: containers.clone(),
                    action,
                    last: *last,
                    message: message.as_deref(),
                    to: u32::MAX,
                    unconditional,
                });
            }
        }
    }
    if containers.is_empty() {
        let end = u32::try_from(flat.len()).unwrap_or(u32::MAX);
        for rule in flat.iter_mut().skip(first) {
            rule.to = rule.to.min(end);
        }
    }
    Ok(())
}

/// Regular expressions about one text.
#[derive(Default)]
struct RegexSet<'s> {
    key: &'static str,
    patterns: Vec<&'s str>,
}

struct Compiler<'s> {
    set: &'s RuleSet,
    clients: Vec<(Net, u32)>,
    destinations: Vec<(Net, u32)>,
    /// Marks below the number of lists stand for lists, those from there on for conditions.
    next_client: u32,
    next_destination: u32,
    used_lists: BTreeSet<(usize, u8)>,
    names: DomainListBuilder,
    name_runs: Vec<(usize, u32)>,
    next_host: u32,
    users: HashMap<Box<str>, u32>,
    user_names: Vec<Box<str>>,
    groups: Vec<BTreeSet<usize>>,
    group_facts: FactSet,
    texts: Vec<RegexSet<'s>>,
    text_sets: HashMap<TextOf, u32>,
    headers: Vec<Box<str>>,
}

impl<'s> Compiler<'s> {
    fn new(set: &'s RuleSet) -> Result<Self, CompileError> {
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

    fn guard(&mut self, rule: &FlatRule<'s>) -> Result<Guard, CompileError> {
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
            Condition::HostIsIp(expected) => Test::HostIsIp(*expected),
            Condition::HostMismatch(expected) => Test::HostMismatch(*expected),
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

    fn finish(mut self, key: HashKey) -> Result<Tables, CompileError> {
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

/// What a list is used for.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Side {
    Client,
    Destination,
    Host,
    Url,
}

/// For each group itself and every group that its members are in too.
fn memberships(set: &RuleSet) -> Result<Vec<BTreeSet<usize>>, CompileError> {
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
