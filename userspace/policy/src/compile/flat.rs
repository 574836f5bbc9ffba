//! Rules with everything that their containers add to them.

use super::{CompileError, MAX_DEPTH};
use crate::rule::{Action, Condition, Rule, RuleBody, RuleSet};

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
    pub(super) to: u32,
    pub(super) unconditional: bool,
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

    pub(crate) fn conditions(&self) -> impl Iterator<Item = &'s Condition> {
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
