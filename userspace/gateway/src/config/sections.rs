//! The sections that are no rules.

use std::{ops::Range, path::PathBuf, time::Duration};

use sluice_abi::{Marks, map::FLOWS, table::Direction};
use sluice_policy::{
    Net, Policy, PortRange, RuleSet,
    kernel::{Egress, EgressAction, EgressRule, Refused, Steer, Traffic},
};
use toml::de::DeTable;

use super::{
    Config, Gateway, Midstream, OnFailure, Role, SniTruth, Splice, Steering, admin, authority,
    guard, intercept,
    intercept::positive,
    lists,
    log::{LOG, log},
    names::{Names, name},
    page, people,
    problem::Problems,
    providers, proxy,
    read::{Item, Keys, Section},
    rules, schedules,
    sources::Files,
    value,
};

const TOP: Keys = Keys {
    known: &[
        "gateway",
        "egress",
        "steer",
        "splice",
        "resolver",
        "guard",
        "upstream",
        "intercept",
        "request",
        "page",
        "policy",
        "user",
        "identity",
        "group",
        "list",
        "schedule",
        "rule",
        "proxy",
        "ca",
        "admin",
        "log",
    ],
    later: &[],
};

/// Reads a whole document; `None` where it has a mistake that leaves no configuration.
pub(super) fn config<'t>(
    document: &'t DeTable<'t>,
    files: &Files<'_>,
    role: Role,
    problems: &'t Problems,
) -> Option<Config> {
    let top = Section::new("the file", Some((0..0, document)), TOP, problems);
    let gateway = gateway(&section(&top, "gateway", GATEWAY, problems));
    let egress_section = section(&top, "egress", EGRESS, problems);
    let egress = egress(&egress_section);
    let steer = steer(&section(&top, "steer", STEER, problems));
    let splice = splice(&section(&top, "splice", SPLICE, problems));
    let resolver = intercept::resolver(&section(&top, "resolver", intercept::RESOLVER, problems));
    let guard = guard::guard(&section(&top, "guard", guard::GUARD, problems));
    let upstream = section(&top, "upstream", intercept::UPSTREAM, problems);
    let upstream = intercept::upstream(&upstream, files);
    let intercept = section(&top, "intercept", intercept::INTERCEPT, problems);
    let intercept = intercept::intercept(&intercept);
    let request = page::request(&section(&top, "request", page::REQUEST, problems));
    let page = page::page(&section(&top, "page", page::PAGE, problems), files);
    let policy_section = section(&top, "policy", rules::POLICY, problems);
    let shadow = shadow(&policy_section, files, role);
    let identity = section(&top, "identity", people::IDENTITY, problems);
    let addresses = people::addresses(&identity);
    let providers = providers::settings(&identity, files);
    let proxies = proxy::proxies(&top, &providers.providers, files);
    let mut names = Names {
        listeners: proxies
            .iter()
            .map(|(proxy, _)| proxy.name.to_string())
            .collect(),
        ..Names::default()
    };
    let set = RuleSet {
        defaults: rules::defaults(&policy_section),
        users: people::users(&top, &identity, files),
        groups: people::groups(&top, files, &mut names),
        lists: lists::lists(&top, files, &mut names),
        schedules: schedules::schedules(&top, &mut names),
        rules: proxy::rules(proxies.iter().map(|(proxy, _)| proxy))
            .into_iter()
            .chain(rules::rules(
                &top,
                &names,
                rules::plain_block(&policy_section),
            ))
            .collect(),
    };
    let proxies = proxy::pacs(proxies, &names, &set.lists);
    let ca = top
        .get("ca")
        .and_then(|item| item.section("[ca]", authority::CA))
        .and_then(|section| authority::ca(&section));
    let admin = admin::admin(&section(&top, "admin", admin::ADMIN, problems), files);
    let log = log(&section(&top, "log", LOG, problems));
    if !problems.is_empty() {
        return None;
    }
    let policy = match Policy::compile(&set) {
        Ok(policy) => policy,
        Err(error) => {
            policy_section.note(error.to_string());
            return None;
        }
    };
    let mut config = Config {
        gateway,
        egress,
        steer,
        splice,
        resolver,
        guard,
        upstream,
        intercept,
        page,
        request,
        addresses,
        rules: set,
        policy,
        refused: Refused::Nothing,
        identity: providers,
        shadow,
        sources: files.after.take(),
        proxies,
        ca,
        admin,
        log,
    };
    match config.kernel_policy(1) {
        Ok(kernel) => config.refused = kernel.refused,
        Err(error) => {
            egress_section.note(error.to_string());
            return None;
        }
    }
    Some(config)
}

fn section<'t>(top: &Section<'t>, name: &str, keys: Keys, problems: &'t Problems) -> Section<'t> {
    let title = format!("[{name}]");
    top.get(name)
        .and_then(|item| item.section(&title, keys))
        .unwrap_or_else(|| Section::new(title, None, keys, problems))
}

/// The path of the candidate; what is a candidate itself has none.
fn shadow(policy: &Section<'_>, files: &Files<'_>, role: Role) -> Option<PathBuf> {
    let item = policy.get("shadow")?;
    if role == Role::Candidate {
        item.note("this file is a candidate itself: take it out");
        return None;
    }
    item.parse(|text| files.path(text))
}

const GATEWAY: Keys = Keys {
    known: &[
        "lan",
        "on_failure",
        "midstream",
        "workers",
        "state_dir",
        "bpffs_dir",
        "mark",
        "table",
        "listener_port",
        "flow_limit",
        "flow_limit_per_client",
        "drain_timeout",
    ],
    later: &[],
};

fn gateway(section: &Section<'_>) -> Gateway {
    if section.get("lan").is_none() {
        section.missing(
            "lan",
            "name the devices behind which the clients are, as in [\"lan0\"]",
        );
    }
    let lan = section.list("lan", Vec::new, value::device);
    if lan.is_empty()
        && let Some(item) = section.get("lan").filter(|item| item.each().is_empty())
    {
        item.note("expected at least one device, as in [\"lan0\"]");
    }
    let words = [("closed", OnFailure::Closed), ("open", OnFailure::Open)];
    let on_failure = section.choice("on_failure", OnFailure::Closed, &words);
    let words = [("drop", Midstream::Drop), ("pass", Midstream::Pass)];
    let midstream = section.choice("midstream", Midstream::Drop, &words);
    let workers = section.number("workers", 0, 0..1025);
    let table = section.get("table").and_then(|item| {
        let number = item.number(1..1 << 32)?;
        if matches!(number, 253..=255) {
            item.note("tables 253 to 255 are the system's own: choose another, such as 5100");
        }
        u32::try_from(number).ok()
    });
    let default_marks = Marks {
        mask: 0xff00_0000,
        steer: 0x5100_0000,
        own: 0x5000_0000,
    };
    Gateway {
        lan,
        on_failure,
        midstream,
        workers: usize::try_from(workers).ok().filter(|&workers| workers > 0),
        state_dir: section.value("state_dir", "/var/lib/sluice".into(), absolute),
        bpffs_dir: section.value("bpffs_dir", "/sys/fs/bpf/sluice".into(), absolute),
        marks: section.value("mark", default_marks, value::marks),
        table: table.unwrap_or(5100),
        listener_port: port(section, "listener_port", 5143),
        flow_limit: count(section, "flow_limit", 65_536),
        flow_limit_per_client: count(section, "flow_limit_per_client", 4096),
        drain_timeout: section.value("drain_timeout", seconds(30), value::duration),
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("expected a path that begins with /".into())
    }
}

fn port(section: &Section<'_>, key: &str, default: u16) -> u16 {
    u16::try_from(section.number(key, default.into(), 1..65_536)).unwrap_or(default)
}

pub(super) fn count(section: &Section<'_>, key: &str, default: usize) -> usize {
    const COUNTS: Range<u64> = 1..16_777_217;
    usize::try_from(section.number(key, default as u64, COUNTS)).unwrap_or(default)
}

const EGRESS: Keys = Keys {
    known: &[
        "default",
        "block_tcp",
        "block_udp",
        "pass_tcp",
        "pass_udp",
        "quic",
        "inbound_udp",
        "inbound_tcp",
        "other_protocols",
        "icmp_rate",
        "flow_limit",
        "flow_limit_per_client",
        "rule",
    ],
    later: &[],
};

const ACTIONS: [(&str, EgressAction); 3] = [
    ("reject", EgressAction::Reject),
    ("drop", EgressAction::Drop),
    ("pass", EgressAction::Pass),
];

fn egress(section: &Section<'_>) -> Egress {
    let native = || PortRange::new(1024, 65535).into_iter().collect();
    let ntp = || vec![PortRange::single(123)];
    for key in ["inbound_udp", "inbound_tcp"] {
        let Some(item) = section.get(key) else {
            continue;
        };
        let _: Option<()> = item.parse(|text| match text {
            "drop" => Ok(()),
            "pass" => Err(
                "expected \"drop\": let single ports in by an [[egress.rule]] with \
                           direction = \"in\""
                    .into(),
            ),
            _ => Err("expected \"drop\"".into()),
        });
    }
    let most = u64::from(FLOWS.max_entries);
    let limit = |key, default: u32| {
        let number = section.number(key, default.into(), 1..most + 1);
        u32::try_from(number).unwrap_or(default)
    };
    Egress {
        default: section.choice("default", EgressAction::Reject, &ACTIONS),
        block_tcp: section.list("block_tcp", native, ports),
        block_udp: section.list("block_udp", native, ports),
        pass_tcp: section.list("pass_tcp", Vec::new, ports),
        pass_udp: section.list("pass_udp", ntp, ports),
        quic: section.choice("quic", EgressAction::Reject, &ACTIONS),
        other_protocols: protocols(section.get("other_protocols")),
        icmp_per_second: section.value("icmp_rate", 100, value::per_second),
        flow_limit: limit("flow_limit", 262_144),
        flow_limit_per_client: limit("flow_limit_per_client", 8192),
        rules: section
            .get("rule")
            .map(|item| item.sections("[[egress.rule]]", EGRESS_RULE))
            .unwrap_or_default()
            .iter()
            .filter_map(egress_rule)
            .collect(),
    }
}

pub(super) fn ports(text: &str) -> Result<PortRange, String> {
    text.parse()
        .map_err(|error: sluice_policy::PortError| error.to_string())
}

pub(super) fn net(text: &str) -> Result<Net, String> {
    if text.starts_with("list:") {
        return Err("lists are not yet supported in this version: write the addresses".into());
    }
    text.parse()
        .map_err(|error: sluice_policy::NetError| error.to_string())
}

fn protocols(item: Option<Item<'_>>) -> Vec<u8> {
    let Some(item) = item else { return Vec::new() };
    item.texts(value::protocol)
}

const EGRESS_RULE: Keys = Keys {
    known: &[
        "name",
        "from",
        "to",
        "tcp",
        "udp",
        "protocol",
        "direction",
        "action",
    ],
    later: &["schedule", "group"],
};

fn egress_rule(section: &Section<'_>) -> Option<EgressRule> {
    let name = name(section);
    let nets = |key| {
        let item: Item<'_> = section.get(key)?;
        let nets = item.texts(net);
        if item.each().is_empty() {
            item.note("an empty list matches nothing: take the key out, and any address matches");
        }
        Some(nets)
    };
    let words = [("out", Direction::Out), ("in", Direction::In)];
    let direction = section.choice("direction", Direction::Out, &words);
    let traffic = Traffic {
        tcp: section.list("tcp", Vec::new, ports),
        udp: section.list("udp", Vec::new, ports),
        protocols: protocols(section.get("protocol")),
    };
    for key in ["tcp", "udp", "protocol"] {
        if let Some(item) = section.get(key).filter(|item| item.each().is_empty()) {
            item.note("an empty list matches nothing: take the key out");
        }
    }
    let action = match section.get("action") {
        Some(item) => {
            let action = item.choice(&ACTIONS);
            if direction == Direction::In && action == Some(EgressAction::Reject) {
                item.note("what comes from outside gets no answer: write \"drop\"");
            }
            action
        }
        None => {
            section.missing("action", "write \"pass\", \"reject\" or \"drop\"");
            None
        }
    };
    let (from, to) = (nets("from"), nets("to"));
    Some(EgressRule {
        name: name?,
        direction,
        from,
        to,
        traffic,
        action: action?,
    })
}

const STEER: Keys = Keys {
    known: &[
        "tls",
        "http",
        "hello_timeout",
        "silent_timeout",
        "hello_limit",
        "strict_hrr",
        "sni_truth",
    ],
    later: &[],
};

fn steer(section: &Section<'_>) -> Steering {
    let hello_limit = section.get("hello_limit").and_then(|item| {
        let size = item.parse(value::size)?;
        // A record's header and the least that a ClientHello can be; the most that peek holds.
        if !(512..=65_536).contains(&size) {
            item.note("expected a size from \"512B\" to \"64KiB\"");
        }
        usize::try_from(size).ok()
    });
    Steering {
        ports: Steer {
            tls: section.list("tls", || vec![PortRange::single(443)], ports),
            http: section.list("http", Vec::new, ports),
        },
        hello_timeout: positive(section, "hello_timeout", seconds(5)),
        silent_timeout: positive(section, "silent_timeout", seconds(3)),
        hello_limit: hello_limit.unwrap_or(65_536),
        strict_hrr: section
            .get("strict_hrr")
            .and_then(|item| item.boolean())
            .unwrap_or(false),
        sni_truth: section.choice(
            "sni_truth",
            SniTruth::Off,
            &SniTruth::ALL.map(|truth| (truth.name(), truth)),
        ),
    }
}

const SPLICE: Keys = Keys {
    known: &[
        "idle_timeout",
        "total_timeout",
        "connect_timeout",
        "bulk_after",
    ],
    later: &[],
};

fn splice(section: &Section<'_>) -> Splice {
    let optional = |key, default| {
        Some(section.value(key, default, value::duration)).filter(|duration| !duration.is_zero())
    };
    Splice {
        idle_timeout: optional("idle_timeout", seconds(3600)),
        total_timeout: optional("total_timeout", seconds(0)),
        connect_timeout: positive(section, "connect_timeout", seconds(10)),
        bulk_after: section.value("bulk_after", 256 << 10, value::size),
    }
}
