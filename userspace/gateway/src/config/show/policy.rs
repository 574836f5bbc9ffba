//! Users, groups, lists, schedules and rules, for people to read.

use std::fmt::{self, Write};

use sluice_policy::{
    Action, BlockKind, DefaultAction, Group, Rule, RuleBody, RuleSet, Schedule, Stage, TimeRange,
    User, kernel::Refused,
};

use super::{
    super::{Config, schedules::DAYS, show_duration},
    condition::{abbreviated, condition, group_name},
};

/// Users that are written out: an identity file may name thousands.
const MOST_USERS: usize = 20;

pub(super) fn write(config: &Config, out: &mut String) -> fmt::Result {
    let set = &config.rules;
    users(set, out)?;
    section(out, "groups", &set.groups, |group| {
        (group.name.clone(), members(set, group))
    })?;
    section(out, "lists", &set.lists, |list| {
        let (count, kind) = (list.data.len(), list.data.kind());
        (list.name.clone(), format!("{count} {kind}"))
    })?;
    section(out, "schedules", &set.schedules, |one| {
        (one.name.clone(), schedule(one))
    })?;
    if let Some(shadow) = &config.shadow {
        writeln!(out, "\nshadow: {}", shadow.display())?;
    }
    writeln!(out, "\nrules, in order:")?;
    if set.rules.is_empty() {
        writeln!(out, "  none")?;
    }
    let mut number = 0;
    walk(config, &set.rules, 1, &mut number, out)?;
    writeln!(out, "  when no rule decides:")?;
    let defaults = set.defaults;
    writeln!(
        out,
        "     TLS or HTTP that names a server: {}",
        default_action(defaults.identified)
    )?;
    writeln!(
        out,
        "     everything else: {}",
        default_action(defaults.unidentified)
    )?;
    stages(config, out)
}

/// A section of things with names; one that is empty is left out, but for groups.
fn section<T>(
    out: &mut String,
    title: &str,
    things: &[T],
    show: impl Fn(&T) -> (String, String),
) -> fmt::Result {
    if things.is_empty() && title != "groups" {
        return Ok(());
    }
    writeln!(out, "\n{title}:")?;
    if things.is_empty() {
        writeln!(out, "  none")?;
    }
    for thing in things {
        let (name, what) = show(thing);
        writeln!(out, "  \"{name}\": {what}")?;
    }
    Ok(())
}

fn users(set: &RuleSet, out: &mut String) -> fmt::Result {
    let shown = set.users.get(..MOST_USERS).unwrap_or(&set.users);
    section(out, "users", shown, |User { name, nets }| {
        let nets = abbreviated(nets.len(), nets.iter().map(ToString::to_string), ", ");
        (name.clone(), or_none(nets))
    })?;
    if let Some(more @ 1..) = set.users.len().checked_sub(MOST_USERS) {
        writeln!(out, "  ... and {more} more")?;
    }
    Ok(())
}

fn members(set: &RuleSet, group: &Group) -> String {
    let nets = group.nets.iter().map(ToString::to_string);
    let inner = group.groups.iter();
    let inner = inner.map(|&id| format!("group:{}", group_name(set, id)));
    let users = group.users.iter().map(|name| format!("\"{name}\""));
    let count = group.nets.len() + group.groups.len() + group.users.len();
    or_none(abbreviated(count, nets.chain(inner).chain(users), ", "))
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

fn schedule(schedule: &Schedule) -> String {
    let Schedule { times, dates, .. } = schedule;
    let mut parts = vec![days(schedule)];
    if !times.is_empty() {
        parts.push(abbreviated(times.len(), times.iter().map(time), " | "));
    }
    if !dates.is_empty() {
        let shown = dates.iter().map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}..{last}")
            }
        });
        parts.push(abbreviated(dates.len(), shown, " | "));
    }
    parts.push(schedule.zone.iana_name().unwrap_or("?").to_owned());
    parts.join(", ")
}

fn days(schedule: &Schedule) -> String {
    let is_in = |&(_, day): &(&str, _)| schedule.days.contains(day);
    if DAYS.iter().all(is_in) {
        return "every day".into();
    }
    let runs = DAYS.chunk_by(|one, next| is_in(one) == is_in(next));
    let runs = runs.filter(|run| run.first().is_some_and(is_in));
    let runs: Vec<_> = runs
        .map(|run| match run {
            [(first, _), .., (last, _)] => format!("{first}-{last}"),
            [(day, _)] => (*day).to_owned(),
            [] => String::new(),
        })
        .collect();
    runs.join(" | ")
}

fn time(range: &TimeRange) -> String {
    let &TimeRange { from, to } = range;
    format!(
        "{:02}:{:02}-{:02}:{:02}",
        from / 60,
        from % 60,
        to / 60,
        to % 60
    )
}

fn walk(
    config: &Config,
    rules: &[Rule],
    depth: usize,
    number: &mut usize,
    out: &mut String,
) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for rule in rules {
        match &rule.body {
            RuleBody::Contain(inner) => {
                writeln!(out, "{indent}container \"{}\"", rule.name)?;
                conditions(config, rule, &indent, out)?;
                walk(config, inner, depth + 1, number, out)?;
            }
            RuleBody::Act {
                action: act,
                last,
                message,
            } => {
                let info = config.policy.rules().get(*number);
                *number += 1;
                let override_ = if *last {
                    ""
                } else {
                    ", unless a later rule decides"
                };
                let act = action(act);
                writeln!(out, "{indent}{number}. \"{}\": {act}{override_}", rule.name)?;
                conditions(config, rule, &indent, out)?;
                if let Some(message) = message {
                    writeln!(out, "{indent}   says \"{message}\"")?;
                }
                if !rule.tags.is_empty() {
                    let tags: Vec<_> = rule.tags.iter().map(|tag| format!("\"{tag}\"")).collect();
                    writeln!(out, "{indent}   tags {}", tags.join(", "))?;
                }
                if let Some(info) = info {
                    let forces = forces(info.stage);
                    writeln!(out, "{indent}   stage {}: {forces}", info.stage)?;
                }
            }
        }
    }
    Ok(())
}

/// What a rule whose conditions need a stage can make sluice do.
const fn forces(stage: Stage) -> &'static str {
    match stage {
        Stage::Packet | Stage::Open => "known when the flow opens, forces nothing",
        Stage::Hello => "can force reading the client's first bytes",
        Stage::ServerHello => "can force a connection to the origin",
        Stage::Certificate => "can force a handshake with the origin",
        Stage::Request => "can force decryption",
    }
}

/// Writes what an action does to a flow.
#[must_use]
pub fn action(action: &Action) -> String {
    match action {
        Action::Allow => "allow".into(),
        Action::Block(kind) => block(*kind).into(),
        Action::Inspect => "inspect (decrypt, and go on)".into(),
        Action::NoLog => "no-log (no access record, and go on)".into(),
        Action::Skip => "skip the rest of the container".into(),
        Action::Splice => "splice (never decrypt)".into(),
        Action::Tag(tag) => format!("tag \"{tag}\", and go on"),
        Action::Warn(seconds) => {
            let period = std::time::Duration::from_secs(*seconds);
            format!("warn (once in {}), and go on", show_duration(period))
        }
    }
}

const fn block(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Alert => "block (alert)",
        BlockKind::Page => "block (page)",
        BlockKind::Reset => "block (reset)",
    }
}

const fn default_action(action: DefaultAction) -> &'static str {
    match action {
        DefaultAction::Allow => "allow",
        DefaultAction::Block(kind) => block(kind),
    }
}

fn conditions(config: &Config, rule: &Rule, indent: &str, out: &mut String) -> fmt::Result {
    for (word, list, glue) in [
        ("when", &rule.when, " and "),
        ("unless", &rule.unless, " or "),
    ] {
        if !list.is_empty() {
            let text: Vec<_> = list
                .iter()
                .map(|one| condition(&config.rules, one))
                .collect();
            writeln!(out, "{indent}   {word} {}", text.join(glue))?;
        }
    }
    Ok(())
}

/// Which rules ask for a stage, so that nobody has to wonder why a flow is looked into so deep.
fn stages(config: &Config, out: &mut String) -> fmt::Result {
    writeln!(out, "\nstages:")?;
    if config.refused == Refused::InKernel {
        let by = "the kernel refuses what rules reset by addresses and port alone";
        super::row(out, Stage::Packet.name(), by)?;
    }
    for stage in [
        Stage::Hello,
        Stage::ServerHello,
        Stage::Certificate,
        Stage::Request,
    ] {
        let names: Vec<_> = config
            .policy
            .rules()
            .iter()
            .filter(|rule| rule.stages.contains(&stage))
            .map(|rule| format!("\"{}\"", rule.name))
            .collect();
        let names = if names.is_empty() {
            "nothing".into()
        } else {
            names.join(", ")
        };
        super::row(out, stage.name(), names)?;
    }
    Ok(())
}
