//! What is looked up once for a flow, however many conditions ask for it.

use std::{collections::HashMap, net::IpAddr};

use regex_automata::{Input, PatternSet, meta::Regex};

use crate::{
    addresses::AddressTable,
    domains::{DomainTable, Sets},
    facts::Facts,
    hang::Step,
    stage::{Fact, FactSet},
    url::{UrlEntry, UrlParts},
};

/// Tables that the conditions of a policy share.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) clients: AddressTable,
    /// What each set of the table of clients means.
    pub(crate) client_classes: Box<[ClientClass]>,
    pub(crate) destinations: AddressTable,
    pub(crate) hosts: DomainTable,
    /// Names of users that rules, groups and addresses speak of.
    pub(crate) users: HashMap<Box<str>, u32>,
    pub(crate) user_names: Box<[Box<str>]>,
    /// For each user the groups that he or she is in, by whatever way.
    pub(crate) user_groups: Box<[Box<[u32]>]>,
    pub(crate) group_names: Box<[Box<str>]>,
    pub(crate) groups_by_name: HashMap<Box<str>, u32>,
    /// For each group itself and the groups that it is a member of, by whatever way.
    pub(crate) group_closure: Box<[Box<[u32]>]>,
    /// What it rests on who is in which group.
    pub(crate) group_facts: FactSet,
    pub(crate) urls: UrlTable,
    pub(crate) texts: Box<[Regex]>,
    pub(crate) headers: Box<[Box<str>]>,
}

/// What is known of a client by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientClass {
    pub(crate) marks: Box<[u32]>,
    pub(crate) groups: Box<[u32]>,
    pub(crate) user: Option<u32>,
}

/// The entries of every list of URLs, by host.
#[derive(Clone, Debug)]
pub(crate) struct UrlTable {
    pub(crate) hosts: DomainTable,
    /// The entries, with the list of each.
    pub(crate) entries: Box<[(UrlEntry, u32)]>,
}

/// Which name a condition asks about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum HostOf {
    Connect,
    Flow,
    Url,
}

impl HostOf {
    pub(crate) fn get<'f>(self, facts: &Facts<'f>) -> Option<&'f str> {
        match self {
            Self::Connect => facts.connect?.host,
            Self::Flow => facts.host,
            Self::Url => facts.request.url.map(|url| UrlParts::split(url).host),
        }
    }
}

/// Which text a condition asks about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum TextOf {
    ConnectUserAgent,
    ContentType,
    /// Index of the name of a header field.
    Header(u32),
    Issuer,
    Path,
    Url,
    UserAgent,
}

impl Tables {
    pub(crate) fn text<'f>(&self, of: TextOf, facts: &Facts<'f>) -> Option<&'f str> {
        let request = &facts.request;
        match of {
            TextOf::ConnectUserAgent => facts.connect?.user_agent,
            TextOf::ContentType => request
                .content_type
                .or_else(|| request.header("content-type")),
            TextOf::Header(name) => request.header(self.headers.get(name as usize)?),
            TextOf::Issuer => facts.issuer,
            TextOf::Path => request.url.map(|url| UrlParts::split(url).effective_path()),
            TextOf::Url => request.url,
            TextOf::UserAgent => request.user_agent.or_else(|| request.header("user-agent")),
        }
    }

    /// What is known of a client by address.
    pub(crate) fn client_class(&self, client: IpAddr) -> Option<&ClientClass> {
        self.client_classes.get(self.clients.set(client) as usize)
    }
}

/// Memory that deciding needs, used again for every decision: a thread that decides keeps one.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) looked: Lookups,
    /// Which rules may hold, a bit each.
    pub(crate) words: Vec<u64>,
    pub(crate) steps: Vec<Step>,
}

/// What was looked up for the flow that is being decided.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    client: Option<u32>,
    destination: Option<u32>,
    user: Option<Option<u32>>,
    groups: Gathered,
    hosts: [Gathered; 3],
    urls: Gathered,
    texts: Vec<Matched>,
}

#[derive(Debug, Default)]
struct Gathered {
    done: bool,
    marks: Vec<u32>,
}

#[derive(Debug)]
struct Matched {
    done: bool,
    patterns: PatternSet,
}

/// The sets of addresses that were found for a flow, to go on with at its next stage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    client: Option<u32>,
    destination: Option<u32>,
}

impl Lookups {
    /// Forgets the last flow.
    pub(crate) fn begin(&mut self, found: Found) {
        self.client = found.client;
        self.destination = found.destination;
        self.user = None;
        self.groups.done = false;
        for host in &mut self.hosts {
            host.done = false;
        }
        self.urls.done = false;
        for text in &mut self.texts {
            text.done = false;
        }
    }

    pub(crate) const fn found(&self) -> Found {
        Found {
            client: self.client,
            destination: self.destination,
        }
    }

    fn client_set(&mut self, tables: &Tables, facts: &Facts<'_>) -> u32 {
        *self.client.get_or_insert_with(|| {
            facts
                .client
                .map_or(Sets::EMPTY, |client| tables.clients.set(client))
        })
    }

    pub(crate) fn client<'t>(&mut self, tables: &'t Tables, facts: &Facts<'_>) -> &'t [u32] {
        let set = self.client_set(tables, facts);
        tables
            .client_classes
            .get(set as usize)
            .map_or(&[], |class| &class.marks)
    }

    pub(crate) fn destination<'t>(&mut self, tables: &'t Tables, facts: &Facts<'_>) -> &'t [u32] {
        let set = *self.destination.get_or_insert_with(|| {
            facts
                .destination
                .map_or(Sets::EMPTY, |address| tables.destinations.set(address))
        });
        tables.destinations.marks(set)
    }

    pub(crate) fn user(&mut self, tables: &Tables, facts: &Facts<'_>) -> Option<u32> {
        *self
            .user
            .get_or_insert_with(|| tables.users.get(facts.user?).copied())
    }

    /// The groups that what is known leads into.
    pub(crate) fn groups(&mut self, tables: &Tables, facts: &Facts<'_>, known: FactSet) -> &[u32] {
        if !self.groups.done {
            let set = if known.contains(Fact::Client) {
                self.client_set(tables, facts)
            } else {
                Sets::EMPTY
            };
            let user = if known.contains(Fact::User) {
                self.user(tables, facts)
            } else {
                None
            };
            let marks = &mut self.groups.marks;
            marks.clear();
            if let Some(class) = tables.client_classes.get(set as usize) {
                marks.extend_from_slice(&class.groups);
            }
            if let Some(groups) = user.and_then(|user| tables.user_groups.get(user as usize)) {
                marks.extend_from_slice(groups);
            }
            for name in facts.groups {
                let group = tables.groups_by_name.get(&**name);
                if let Some(all) = group.and_then(|&group| tables.group_closure.get(group as usize))
                {
                    marks.extend_from_slice(all);
                }
            }
            self.groups.done = true;
        }
        &self.groups.marks
    }

    pub(crate) fn host(&mut self, tables: &Tables, of: HostOf, host: &str) -> &[u32] {
        let Some(gathered) = self.hosts.get_mut(of as usize) else {
            return &[];
        };
        if !gathered.done {
            let marks = &mut gathered.marks;
            marks.clear();
            tables.hosts.marks(host, |set| marks.extend_from_slice(set));
            gathered.done = true;
        }
        &gathered.marks
    }

    /// The lists of URLs that a URL is in.
    pub(crate) fn urls(&mut self, tables: &Tables, url: &str) -> &[u32] {
        if !self.urls.done {
            let parts = UrlParts::split(url);
            let marks = &mut self.urls.marks;
            marks.clear();
            tables.urls.hosts.marks(parts.host, |entries| {
                for &entry in entries {
                    if let Some((entry, list)) = tables.urls.entries.get(entry as usize)
                        && entry.matches_beyond_host(&parts)
                    {
                        marks.push(*list);
                    }
                }
            });
            self.urls.done = true;
        }
        &self.urls.marks
    }

    /// Whether any of some regular expressions of a set is found; the whole set runs at once.
    pub(crate) fn regexes(
        &mut self,
        tables: &Tables,
        set: u32,
        text: &str,
        wanted: &[u32],
    ) -> bool {
        if self.texts.len() != tables.texts.len()
            || self
                .texts
                .iter()
                .zip(&tables.texts)
                .any(|(matched, regex)| matched.patterns.capacity() != regex.pattern_len())
        {
            let fresh = |regex: &Regex| Matched {
                done: false,
                patterns: PatternSet::new(regex.pattern_len()),
            };
            self.texts = tables.texts.iter().map(fresh).collect();
        }
        let (Some(matched), Some(regex)) = (
            self.texts.get_mut(set as usize),
            tables.texts.get(set as usize),
        ) else {
            return false;
        };
        if !matched.done {
            matched.patterns.clear();
            regex.which_overlapping_matches(&Input::new(text), &mut matched.patterns);
            matched.done = true;
        }
        wanted.iter().any(|&pattern| {
            let pattern = regex_automata::PatternID::new(pattern as usize);
            pattern.is_ok_and(|pattern| matched.patterns.contains(pattern))
        })
    }
}
