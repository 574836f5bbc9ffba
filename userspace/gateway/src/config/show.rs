//! The effective policy, for people to read.

use std::fmt::{self, Display, Write};

use sluice_policy::{
    Action, Condition, GroupId, Ja4Pattern, NotNegotiated, Rule, RuleBody, RuleSet, Stage,
};

use super::{
    Config, Midstream, OnFailure, protocol_name, show_duration, show_size,
    warn::{notes, openings, warnings},
};

/// Writes the whole of a configuration: every section with its defaults filled in, every opening,
/// the rules with what each can force, and what to be aware of.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(config, &mut text).and_then(|()| policy(config, &mut text));
    for (title, lines) in [
        ("openings (what no rule judges)", openings(config)),
        ("warnings", warnings(config)),
        ("notes", notes(config)),
    ] {
        if lines.is_empty() && title != "warnings" && !title.starts_with("openings") {
            continue;
        }
        let _ = writeln!(text, "\n{title}:");
        if lines.is_empty() {
            let _ = writeln!(text, "  none");
        }
        for line in lines {
            let _ = writeln!(text, "  - {line}");
        }
    }
    text
}

fn sections(config: &Config, out: &mut String) -> fmt::Result {
    let Config {
        gateway,
        egress,
        steer,
        splice,
        admin,
        ..
    } = config;
    writeln!(out, "gateway:")?;
    row(out, "lan", list(&gateway.lan))?;
    let on_failure = match gateway.on_failure {
        OnFailure::Closed => "closed: without a daemon steered ports are refused",
        OnFailure::Open => "open: without a daemon steered ports are forwarded unjudged",
    };
    row(out, "on_failure", on_failure)?;
    let midstream = match gateway.midstream {
        Midstream::Drop => "drop",
        Midstream::Pass => "pass",
    };
    row(out, "midstream", midstream)?;
    let workers = gateway
        .workers
        .map_or("one per core".into(), |count| count.to_string());
    row(out, "workers", workers)?;
    row(out, "state_dir", gateway.state_dir.display())?;
    row(out, "bpffs_dir", gateway.bpffs_dir.display())?;
    let marks = gateway.marks;
    row(
        out,
        "mark",
        format!("{:#010x}/{:#010x}", marks.steer, marks.mask),
    )?;
    row(out, "table", gateway.table)?;
    row(out, "listener_port", gateway.listener_port)?;
    row(out, "flow_limit", gateway.flow_limit)?;
    row(out, "flow_limit_per_client", gateway.flow_limit_per_client)?;
    row(out, "drain_timeout", show_duration(gateway.drain_timeout))?;

    writeln!(out, "\negress (in the kernel):")?;
    row(out, "default", egress.default.name())?;
    row(out, "block_tcp", list(&egress.block_tcp))?;
    row(out, "block_udp", list(&egress.block_udp))?;
    row(out, "pass_tcp", list(&egress.pass_tcp))?;
    row(out, "pass_udp", list(&egress.pass_udp))?;
    row(out, "quic", egress.quic.name())?;
    row(out, "inbound", "drop")?;
    let protocols: Vec<_> = egress
        .other_protocols
        .iter()
        .map(|&p| protocol_name(p))
        .collect();
    row(out, "other_protocols", list(&protocols))?;
    row(out, "icmp_rate", format!("{}/s", egress.icmp_per_second))?;
    row(out, "flow_limit", egress.flow_limit)?;
    row(out, "flow_limit_per_client", egress.flow_limit_per_client)?;
    for (number, rule) in (1..).zip(&egress.rules) {
        writeln!(
            out,
            "  rule {number}: \"{}\": {}",
            rule.name,
            rule.action.name()
        )?;
    }

    writeln!(out, "\nsteer (to the daemon):")?;
    row(out, "tls", list(&steer.ports.tls))?;
    row(out, "hello_timeout", show_duration(steer.hello_timeout))?;
    row(out, "silent_timeout", show_duration(steer.silent_timeout))?;
    row(out, "hello_limit", show_size(steer.hello_limit as u64))?;

    writeln!(out, "\nsplice:")?;
    let timeout = |time: Option<_>| time.map_or("none".into(), show_duration);
    row(out, "idle_timeout", timeout(splice.idle_timeout))?;
    row(out, "total_timeout", timeout(splice.total_timeout))?;
    row(
        out,
        "connect_timeout",
        show_duration(splice.connect_timeout),
    )?;
    row(out, "bulk_after", show_size(splice.bulk_after))?;

    writeln!(out, "\nadmin:")?;
    let listen: Vec<_> = admin
        .listen
        .iter()
        .map(|listener| format!("{listener}"))
        .collect();
    row(out, "listen", list(&listen))
}

fn row(out: &mut String, key: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {key:<22} {value}")
}

fn list<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "none".into();
    }
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn policy(config: &Config, out: &mut String) -> fmt::Result {
    let RuleSet {
        defaults,
        groups,
        rules,
    } = &config.rules;
    writeln!(out, "\ngroups:")?;
    if groups.is_empty() {
        writeln!(out, "  none")?;
    }
    for group in groups {
        let nets = group.nets.iter().map(ToString::to_string);
        let inner = group
            .groups
            .iter()
            .map(|&id| format!("group:{}", group_name(config, id)));
        let members: Vec<_> = nets.chain(inner).collect();
        writeln!(out, "  \"{}\": {}", group.name, list(&members))?;
    }
    writeln!(out, "\nrules, in order:")?;
    if rules.is_empty() {
        writeln!(out, "  none")?;
    }
    let mut number = 0;
    walk(config, rules, 1, &mut number, out)?;
    writeln!(out, "  when no rule decides:")?;
    writeln!(
        out,
        "     TLS that names a server: {}",
        action(defaults.identified)
    )?;
    writeln!(
        out,
        "     everything else: {}",
        action(defaults.unidentified)
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
                let act = action(*act);
                writeln!(out, "{indent}{number}. \"{}\": {act}{override_}", rule.name)?;
                conditions(config, rule, &indent, out)?;
                if let Some(message) = message {
                    writeln!(out, "{indent}   says \"{message}\"")?;
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

const fn action(action: Action) -> &'static str {
    use sluice_policy::BlockKind;
    match action {
        Action::Allow => "allow",
        Action::Block(BlockKind::Alert) => "block (alert)",
        Action::Block(BlockKind::Page) => "block (page)",
        Action::Block(BlockKind::Reset) => "block (reset)",
        Action::Skip => "skip the rest of the container",
        Action::Splice => "splice (never decrypt)",
    }
}

fn conditions(config: &Config, rule: &Rule, indent: &str, out: &mut String) -> fmt::Result {
    for (word, list, glue) in [
        ("when", &rule.when, " and "),
        ("unless", &rule.unless, " or "),
    ] {
        if !list.is_empty() {
            let text: Vec<_> = list.iter().map(|one| condition(config, one)).collect();
            writeln!(out, "{indent}   {word} {}", text.join(glue))?;
        }
    }
    Ok(())
}

fn condition(config: &Config, condition_: &Condition) -> String {
    fn any<T>(key: &str, values: &[T], show: impl Fn(&T) -> String) -> String {
        format!(
            "{key} = {}",
            values.iter().map(show).collect::<Vec<_>>().join(" | ")
        )
    }
    let absent = || "absent".to_owned();
    match condition_ {
        Condition::Alpn(names) => any("alpn", names, |name| {
            name.as_ref()
                .map_or_else(absent, |name| String::from_utf8_lossy(name).into_owned())
        }),
        Condition::Client(nets) => any("client", nets, ToString::to_string),
        Condition::Destination(nets) => any("destination", nets, ToString::to_string),
        Condition::Ech(offered) => format!("ech = {offered}"),
        Condition::Group(ids) => any("group", ids, |&id| {
            format!("\"{}\"", group_name(config, id))
        }),
        Condition::Host(hosts) => any("host", hosts, |host| {
            host.as_ref().map_or_else(absent, ToString::to_string)
        }),
        Condition::HostIsIp(expected) => format!("host-is-ip = {expected}"),
        Condition::Ja4(patterns) => any("ja4", patterns, |pattern| match pattern {
            Ja4Pattern::Exact(whole) => whole.clone(),
            Ja4Pattern::Prefix(start) => format!("{start}*"),
        }),
        Condition::Listener(_) => "listener = transparent".into(),
        Condition::Not(inner) => {
            let inner: Vec<_> = inner.iter().map(|one| condition(config, one)).collect();
            format!("not ({})", inner.join(" and "))
        }
        Condition::Port(ranges) => any("port", ranges, ToString::to_string),
        Condition::Tls(states) => {
            if NotNegotiated::ALL
                .iter()
                .all(|&reason| states.contains(&Some(reason)))
            {
                let negotiated = if states.contains(&None) {
                    " | negotiated"
                } else {
                    ""
                };
                return format!("tls = not-negotiated{negotiated}");
            }
            any("tls", states, |state| {
                state.map_or("negotiated", NotNegotiated::name).to_owned()
            })
        }
    }
}

fn group_name(config: &Config, id: GroupId) -> &str {
    config
        .rules
        .groups
        .get(id.0)
        .map_or("?", |group| group.name.as_str())
}

impl Display for super::AdminListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
