//! From the rules as written to what decides.

use std::collections::BTreeSet;

use crate::{
    matcher::Guard,
    net::Net,
    outcome::Outcome,
    rule::{Action, Defaults, GroupId, Rule, RuleBody, RuleSet},
    stage::Stage,
};

/// Containers may be nested this deep.
pub const MAX_DEPTH: usize = 8;

/// A compiled policy: immutable, and shared by every flow that is decided under it.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) nodes: Box<[Node]>,
    pub(crate) defaults: EndOutcomes,
    rules: Box<[RuleInfo]>,
}

/// Number of a rule in the order of evaluation; containers are not counted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(pub u32);

/// What there is to say about a rule.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// The rule's name, behind those of its containers: `office hours / no shopping`.
    pub name: String,
    /// What the rule does.
    pub action: Action,
    /// Whether the walk ends where the rule holds.
    pub last: bool,
    /// What a block page says.
    pub message: Option<String>,
    /// The deepest stage that the rule's conditions and those of its containers may need.
    pub stage: Stage,
    /// Whether the rule holds for every flow that reaches it.
    pub unconditional: bool,
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// `allow`, `block` or nothing else may stand for flows that no rule decides.
    #[error("a default must be \"allow\" or \"block\"")]
    Default,
    /// Containers inside containers inside containers.
    #[error("rule \"{rule}\" lies deeper than {MAX_DEPTH} containers: split the outer ones")]
    Depth {
        /// The rule that lies too deep.
        rule: String,
    },
    /// A group is a member of itself.
    #[error("group \"{group}\" is a member of itself: take it out of its own members")]
    GroupCycle {
        /// One of the groups of the circle.
        group: String,
    },
    /// A rule that leaves its container lies in none.
    #[error("rule \"{rule}\" says \"skip\" and lies in no container")]
    SkipOutside {
        /// The rule.
        rule: String,
    },
    /// A number that stands for no group.
    #[error("there is no group of number {0}")]
    UnknownGroup(usize),
}

/// What stands for flows that no rule decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndOutcomes {
    pub(crate) identified: Outcome,
    pub(crate) unidentified: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) guard: Guard,
    pub(crate) body: NodeBody,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeBody {
    Contain(Box<[Node]>),
    Decide {
        outcome: Outcome,
        last: bool,
        id: RuleId,
    },
    Skip,
}

impl Policy {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// [`CompileError`], where the rules contradict themselves.
    pub fn compile(set: &RuleSet) -> Result<Self, CompileError> {
        let members = members(set)?;
        let mut compiler = Compiler {
            members,
            rules: Vec::new(),
        };
        let top = Place {
            depth: 0,
            path: String::new(),
            stage: Stage::Packet,
            always: true,
        };
        let nodes = compiler.nodes(&set.rules, &top)?;
        let defaults = end_outcomes(set.defaults)?;
        Ok(Self {
            nodes,
            defaults,
            rules: compiler.rules.into_boxed_slice(),
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
}

fn end_outcomes(defaults: Defaults) -> Result<EndOutcomes, CompileError> {
    let outcome = |action| match action {
        Action::Allow => Ok(Outcome::Allow),
        Action::Block(kind) => Ok(Outcome::Block(kind)),
        Action::Skip | Action::Splice => Err(CompileError::Default),
    };
    Ok(EndOutcomes {
        identified: outcome(defaults.identified)?,
        unidentified: outcome(defaults.unidentified)?,
    })
}

/// The networks of every group, groups inside them included.
fn members(set: &RuleSet) -> Result<Vec<Vec<Net>>, CompileError> {
    let mut members = Vec::with_capacity(set.groups.len());
    for start in 0..set.groups.len() {
        let mut nets = Vec::new();
        let mut seen = BTreeSet::from([start]);
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            let group = set.groups.get(at).ok_or(CompileError::UnknownGroup(at))?;
            nets.extend_from_slice(&group.nets);
            for &GroupId(inner) in &group.groups {
                if inner == start {
                    return Err(CompileError::GroupCycle {
                        group: group.name.clone(),
                    });
                }
                if seen.insert(inner) {
                    open.push(inner);
                }
            }
        }
        members.push(nets);
    }
    Ok(members)
}

struct Compiler {
    members: Vec<Vec<Net>>,
    rules: Vec<RuleInfo>,
}

/// Where in the tree of containers a rule lies, and what it inherits from them.
#[derive(Clone)]
struct Place {
    depth: usize,
    path: String,
    stage: Stage,
    always: bool,
}

impl Compiler {
    fn nodes(&mut self, rules: &[Rule], place: &Place) -> Result<Box<[Node]>, CompileError> {
        let mut place = place.clone();
        let mut nodes = Vec::with_capacity(rules.len());
        for rule in rules {
            let node = self.node(rule, &place)?;
            // Who may have left the container does not reach every rule after.
            place.always &= !matches!(node.body, NodeBody::Skip);
            nodes.push(node);
        }
        Ok(nodes.into_boxed_slice())
    }

    fn node(&mut self, rule: &Rule, place: &Place) -> Result<Node, CompileError> {
        if place.depth > MAX_DEPTH {
            return Err(CompileError::Depth {
                rule: rule.name.clone(),
            });
        }
        let members = |group: GroupId| self.members.get(group.0).cloned().unwrap_or_default();
        let guard = Guard::new(&rule.when, &rule.unless, &members);
        let stage = place.stage.max(guard.deepest_stage());
        let unconditional = place.always && guard.is_unconditional();
        let name = match place.path.as_str() {
            "" => rule.name.clone(),
            path => format!("{path} / {}", rule.name),
        };
        let body = match &rule.body {
            RuleBody::Contain(inner) => {
                let inside = Place {
                    depth: place.depth + 1,
                    path: name,
                    stage,
                    always: unconditional,
                };
                NodeBody::Contain(self.nodes(inner, &inside)?)
            }
            RuleBody::Act {
                action,
                last,
                message,
            } => {
                // A file of 4 billion rules is not read before this.
                let id = RuleId(u32::try_from(self.rules.len()).unwrap_or(u32::MAX));
                let (action, last) = (*action, *last);
                let message = message.clone();
                let info = RuleInfo {
                    name,
                    action,
                    last,
                    message,
                    stage,
                    unconditional,
                };
                self.rules.push(info);
                let decide = |outcome, last| NodeBody::Decide { outcome, last, id };
                match action {
                    Action::Allow => decide(Outcome::Allow, last),
                    Action::Block(kind) => decide(Outcome::Block(kind), last),
                    Action::Splice => decide(Outcome::Splice, true),
                    Action::Skip if place.depth > 0 => NodeBody::Skip,
                    Action::Skip => {
                        return Err(CompileError::SkipOutside {
                            rule: rule.name.clone(),
                        });
                    }
                }
            }
        };
        Ok(Node { guard, body })
    }
}
