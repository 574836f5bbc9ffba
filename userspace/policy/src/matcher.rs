//! Compiled conditions and their three-valued answer.

use crate::{
    facts::{Facts, FirstBytes, Hello, Listener},
    host::HostSet,
    net::{Net, NetSet},
    port::PortRange,
    rule::{Condition, GroupId, Ja4Pattern},
    stage::{Fact, FactSet, Stage},
};

/// What a condition answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// A rule's `when` and `unless`, those of the earliest stage first.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    when: Box<[Check]>,
    unless: Box<[Check]>,
}

/// What a guard answers, and the facts that a True or a False rests on.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) truth: Truth,
    pub(crate) support: FactSet,
}

impl Guard {
    /// Compiles the conditions; `members` gives the networks of a group, groups inside it included.
    pub(crate) fn new(
        when: &[Condition],
        unless: &[Condition],
        members: &dyn Fn(GroupId) -> Vec<Net>,
    ) -> Self {
        Self {
            when: checks(when, members),
            unless: checks(unless, members),
        }
    }

    #[inline]
    pub(crate) fn ask(&self, facts: &Facts<'_>) -> Answer {
        let mut truth = Truth::True;
        let mut support = FactSet::EMPTY;
        for check in &self.when {
            match check.ask(facts) {
                Truth::True => support = support.union(check.facts),
                Truth::False => {
                    return Answer {
                        truth: Truth::False,
                        support: check.facts,
                    };
                }
                Truth::Unknown => truth = Truth::Unknown,
            }
        }
        for check in &self.unless {
            match check.ask(facts) {
                Truth::False => support = support.union(check.facts),
                Truth::True => {
                    return Answer {
                        truth: Truth::False,
                        support: check.facts,
                    };
                }
                Truth::Unknown => truth = Truth::Unknown,
            }
        }
        Answer { truth, support }
    }

    /// The earliest stage that makes known what an Unknown hangs on.
    pub(crate) fn unknown_stage(&self, facts: &Facts<'_>) -> Option<Stage> {
        let checks = self.when.iter().chain(&self.unless);
        checks.filter_map(|check| check.unknown_stage(facts)).min()
    }

    /// The deepest stage that any condition may need.
    pub(crate) fn deepest_stage(&self) -> Stage {
        let facts = self
            .when
            .iter()
            .chain(&self.unless)
            .flat_map(|check| check.facts.iter());
        facts.map(Fact::stage).max().unwrap_or(Stage::Packet)
    }

    /// Whether the guard holds for every flow.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.when.is_empty() && self.unless.is_empty()
    }
}

#[derive(Clone, Debug)]
struct Check {
    test: Test,
    facts: FactSet,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Test {
    Alpn {
        names: Box<[Box<[u8]>]>,
        absent: bool,
    },
    Client(NetSet),
    Destination(NetSet),
    Ech(bool),
    Host {
        names: HostSet,
        absent: bool,
    },
    HostIsIp(bool),
    Ja4(Box<[Ja4Pattern]>),
    Listener(Listener),
    Not(Box<[Check]>),
    Port(Box<[PortRange]>),
    Tls {
        reasons: u16,
        genuine: bool,
    },
}

fn checks(conditions: &[Condition], members: &dyn Fn(GroupId) -> Vec<Net>) -> Box<[Check]> {
    let mut checks: Vec<_> = conditions.iter().map(|c| Check::new(c, members)).collect();
    checks.sort_by_key(|check| check.stage);
    checks.into_boxed_slice()
}

impl Check {
    fn new(condition: &Condition, members: &dyn Fn(GroupId) -> Vec<Net>) -> Self {
        let test = match condition {
            Condition::Alpn(names) => Test::Alpn {
                names: names
                    .iter()
                    .flatten()
                    .map(|name| name.as_slice().into())
                    .collect(),
                absent: names.iter().any(Option::is_none),
            },
            Condition::Client(nets) => Test::Client(NetSet::new(nets.iter().copied())),
            Condition::Destination(nets) => Test::Destination(NetSet::new(nets.iter().copied())),
            Condition::Ech(offered) => Test::Ech(*offered),
            Condition::Group(groups) => {
                Test::Client(NetSet::new(groups.iter().flat_map(|&group| members(group))))
            }
            Condition::Host(names) => Test::Host {
                names: HostSet::new(names.iter().flatten()),
                absent: names.iter().any(Option::is_none),
            },
            Condition::HostIsIp(expected) => Test::HostIsIp(*expected),
            Condition::Ja4(patterns) => Test::Ja4(patterns.clone().into_boxed_slice()),
            Condition::Listener(listener) => Test::Listener(*listener),
            Condition::Not(inner) => Test::Not(checks(inner, members)),
            Condition::Port(ranges) => Test::Port(ranges.clone().into_boxed_slice()),
            Condition::Tls(states) => Test::Tls {
                reasons: states
                    .iter()
                    .flatten()
                    .fold(0, |bits, reason| bits | reason.bit()),
                genuine: states.iter().any(Option::is_none),
            },
        };
        let facts = match (&test, condition.fact()) {
            (Test::Not(inner), _) => inner
                .iter()
                .fold(FactSet::EMPTY, |facts, check| facts.union(check.facts)),
            (_, Some(fact)) => FactSet::of(fact),
            (_, None) => FactSet::EMPTY,
        };
        let stage = facts.iter().map(Fact::stage).max().unwrap_or(Stage::Packet);
        Self { test, facts, stage }
    }

    #[inline]
    fn ask(&self, facts: &Facts<'_>) -> Truth {
        if let Test::Not(inner) = &self.test {
            return not_all(inner, facts);
        }
        if facts.stage() < self.stage {
            return Truth::Unknown;
        }
        match &self.test {
            Test::Client(nets) => nets.contains(facts.client),
            Test::Destination(nets) => nets.contains(facts.destination),
            Test::Port(ranges) => ranges.iter().any(|range| range.contains(facts.port)),
            Test::Listener(listener) => facts
                .open
                .as_ref()
                .is_some_and(|open| open.listener == *listener),
            Test::Host { names, absent } => match facts.host() {
                Some(host) => names.contains(host),
                None => *absent,
            },
            Test::HostIsIp(expected) => facts.host_is_ip() == Some(*expected),
            Test::Tls { reasons, genuine } => match facts.first_bytes {
                Some(FirstBytes::Hello(_)) => *genuine,
                Some(FirstBytes::Other(reason)) => reasons & reason.bit() != 0,
                None => false,
            },
            // What only a hello has does not apply to other flows, so that both `ech = true` and
            // `ech = false` are False there.
            Test::Alpn { names, absent } => hello(facts).is_some_and(|hello| {
                let named = |name: &[u8]| names.iter().any(|wanted| **wanted == *name);
                (*absent && hello.alpn.is_absent()) || hello.alpn.iter().any(named)
            }),
            Test::Ech(offered) => hello(facts).is_some_and(|hello| hello.ech == *offered),
            Test::Ja4(patterns) => hello(facts).is_some_and(|hello| {
                patterns.iter().any(|pattern| match pattern {
                    Ja4Pattern::Exact(whole) => *whole == hello.ja4,
                    Ja4Pattern::Prefix(start) => hello.ja4.starts_with(start.as_str()),
                })
            }),
            Test::Not(_) => false,
        }
        .into()
    }

    fn unknown_stage(&self, facts: &Facts<'_>) -> Option<Stage> {
        match &self.test {
            Test::Not(inner) => {
                if self.ask(facts) != Truth::Unknown {
                    return None;
                }
                inner
                    .iter()
                    .filter_map(|check| check.unknown_stage(facts))
                    .min()
            }
            _ => (facts.stage() < self.stage).then_some(self.stage),
        }
    }
}

fn not_all(inner: &[Check], facts: &Facts<'_>) -> Truth {
    let mut truth = Truth::False;
    for check in inner {
        match check.ask(facts) {
            Truth::True => {}
            Truth::False => return Truth::True,
            Truth::Unknown => truth = Truth::Unknown,
        }
    }
    truth
}

const fn hello<'a>(facts: &Facts<'a>) -> Option<Hello<'a>> {
    match facts.first_bytes {
        Some(FirstBytes::Hello(hello)) => Some(hello),
        Some(FirstBytes::Other(_)) | None => None,
    }
}
