//! From the rules as written to what decides.

mod conditions;
mod flat;
mod tables;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

pub use flat::FlatRule;

use crate::{
    domains::HashKey,
    facts::Facts,
    guard::Guard,
    index::Index,
    lookup::Tables,
    rule::{Action, Condition, RuleSet},
    running::{Disposition, Effect},
    stage::{Fact, Stage},
};
use conditions::Compiler;

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
            stages.extend(
                states
                    .reasons()
                    .map(crate::negotiation::NotNegotiated::stage),
            );
            stages
        }
        condition => condition.fact().map(Fact::stage).into_iter().collect(),
    }
}
