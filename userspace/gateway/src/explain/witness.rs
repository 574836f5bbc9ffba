//! Flows that may show what a change does: made from the values that the rules themselves name.

mod values;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sluice_policy::{
    AddressItem, Condition, HostItem, ListData, NotNegotiated, RuleSet, Stage, UrlItem,
    compile::{CompileError, FlatRule},
};

use super::changes::Change;
use values::{fail, hold, host_of};

/// Flows that are tried at the most.
pub const MOST: usize = 4000;

/// Values of one condition that are tried at the most.
const MOST_VALUES: usize = 24;

/// Facts in the form of `explain --facts`.
pub type Flow = Map<String, Value>;

/// The path of a request, and its host where it is not that of the flow; they become a URL.
const PATH: &str = "path";
const URL_HOST: &str = "url-host";

/// Flows to try for some changes, each once.
///
/// # Errors
///
/// [`CompileError`], which rules that were compiled do not give.
pub fn flows(sets: [&RuleSet; 2], changes: &[Change]) -> Result<Vec<Flow>, CompileError> {
    let mut made = Made::default();
    for tls in ["negotiated", "not-tls", "sslv2-hello", "no-common-version"] {
        let mut flow = base();
        flow.insert("tls".into(), json!(tls));
        made.add(&flow);
        flow.remove("host");
        made.add(&flow);
    }
    for set in sets {
        let flat = set.flat()?;
        let changed = |of: &str, name: &str| {
            changes
                .iter()
                .any(|change| change.of == of && change.name == name)
        };
        let speaks = |rule: &FlatRule<'_>| {
            rule.when()
                .chain(rule.unless())
                .any(|condition| mentions(set, condition, &changed))
        };
        let differ: Vec<_> = flat
            .iter()
            .filter(|rule| changed("rule", &rule.rule.name) || speaks(rule))
            .collect();
        let clients = clients(sets, changes);
        for rule in &differ {
            vary(set, rule, &base(), &clients, &mut made);
        }
        // What the rule changes may show only where another holds too.
        for rule in &differ {
            for other in &flat {
                let mut flow = base();
                fulfil(set, other, &mut flow);
                fulfil(set, rule, &mut flow);
                made.add(&flow);
            }
        }
    }
    Ok(made.flows)
}

#[derive(Default)]
struct Made {
    seen: BTreeSet<String>,
    flows: Vec<Flow>,
}

impl Made {
    fn add(&mut self, flow: &Flow) {
        let flow = finished(flow.clone());
        if self.flows.len() < MOST && self.seen.insert(Value::Object(flow.clone()).to_string()) {
            self.flows.push(flow);
        }
    }
}

/// An ordinary flow of which everything is known.
fn base() -> Flow {
    let flow = json!({
        "client": "198.51.100.77",
        "destination": "203.0.113.80",
        "port": 443,
        "listener": "transparent",
        "time": 1_772_445_600,
        "host": "other.example",
        "tls": "negotiated",
        "tls_version": ["1.2", "1.3"],
        "tls_version_chosen": "1.3",
        "ech": false,
        "certificate": ["valid"],
        "client_certificate": false,
        "method": "GET",
        "stage": Stage::Request.name(),
    });
    flow.as_object().cloned().unwrap_or_default()
}

/// Gives the flow a URL, and takes out what its first bytes rule out.
fn finished(mut flow: Flow) -> Flow {
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let (path, url_host) = (text(flow.remove(PATH)), text(flow.remove(URL_HOST)));
    let tls = text(flow.get("tls").cloned()).unwrap_or_default();
    let is_tls = NotNegotiated::from_name(&tls).is_none_or(NotNegotiated::follows_hello);
    let requested = path.is_some() || url_host.is_some();
    if !is_tls && requested && !flow.contains_key("application") {
        flow.insert("application".into(), json!("http"));
    }
    if !flow.contains_key("url") && (is_tls || requested) {
        let host = url_host.or_else(|| text(flow.get("host").cloned()));
        let host = host.unwrap_or_else(|| "203.0.113.80".into());
        let scheme = if is_tls { "https" } else { "http" };
        let path = path.unwrap_or_else(|| "/".into());
        flow.insert("url".into(), json!(format!("{scheme}://{host}{path}")));
    }
    if !is_tls {
        for key in [
            "tls_version",
            "tls_version_chosen",
            "ech",
            "certificate",
            "client_certificate",
            "alpn",
            "ja4",
            "issuer",
            "inner",
        ] {
            flow.remove(key);
        }
    }
    flow
}

/// A flow for which the rule holds, and flows in which one thing about it is otherwise.
fn vary(set: &RuleSet, rule: &FlatRule<'_>, base: &Flow, clients: &[Flow], made: &mut Made) {
    let mut whole = base.clone();
    fulfil(set, rule, &mut whole);
    made.add(&whole);
    for condition in rule.when().chain(rule.unless()) {
        for value in 0..values(condition).min(MOST_VALUES) {
            let mut flow = whole.clone();
            hold(set, condition, value, &mut flow);
            made.add(&flow);
            if let Condition::Host(items) | Condition::ConnectHost(items) = condition
                && let Some(Some(HostItem::List(id))) = items.get(value)
                && let Some(ListData::Domains(names)) = set.lists.get(id.0).map(|list| &list.data)
            {
                for name in names.iter().take(MOST_VALUES) {
                    flow.insert("host".into(), json!(host_of(&name)));
                    made.add(&flow);
                }
            }
        }
        let mut flow = whole.clone();
        fail(set, condition, &mut flow);
        made.add(&flow);
    }
    for who in clients {
        let mut flow = whole.clone();
        flow.remove("groups");
        flow.extend(who.clone());
        made.add(&flow);
    }
}

fn fulfil(set: &RuleSet, rule: &FlatRule<'_>, flow: &mut Flow) {
    for condition in rule.unless() {
        fail(set, condition, flow);
    }
    for condition in rule.when() {
        hold(set, condition, 0, flow);
    }
}

/// Clients and users of groups and users that are different.
fn clients(sets: [&RuleSet; 2], changes: &[Change]) -> Vec<Flow> {
    let changed = |of: &str, name: &str| {
        changes
            .iter()
            .any(|change| change.of == of && change.name == name)
    };
    let mut found = Vec::new();
    let mut put = |key: &str, value: String| {
        found.push(Flow::from_iter([(key.to_owned(), Value::String(value))]));
    };
    for set in sets {
        for group in set
            .groups
            .iter()
            .filter(|group| changed("group", &group.name))
        {
            for net in group.nets.iter().take(MOST_VALUES) {
                put("client", net.address().to_string());
            }
            for user in group.users.iter().take(MOST_VALUES) {
                put("user", user.clone());
            }
        }
        for user in set.users.iter().filter(|user| changed("user", &user.name)) {
            for net in user.nets.iter().take(MOST_VALUES) {
                put("client", net.address().to_string());
            }
        }
    }
    found.dedup();
    found
}

/// Whether a condition speaks of something that is different.
fn mentions(set: &RuleSet, condition: &Condition, changed: &impl Fn(&str, &str) -> bool) -> bool {
    let list = |id: usize| {
        set.lists
            .get(id)
            .is_some_and(|list| changed("list", &list.name))
    };
    match condition {
        Condition::Not(inner) => inner.iter().any(|one| mentions(set, one, changed)),
        Condition::Group(ids) => ids
            .iter()
            .flatten()
            .any(|id| group_mentions(set, id.0, changed, 0)),
        Condition::User(_) => set.users.iter().any(|user| changed("user", &user.name)),
        Condition::Schedule(ids) => ids.iter().any(|id| {
            set.schedules
                .get(id.0)
                .is_some_and(|schedule| changed("schedule", &schedule.name))
        }),
        Condition::Client(items) | Condition::Destination(items) => items
            .iter()
            .any(|item| matches!(item, AddressItem::List(id) if list(id.0))),
        Condition::Host(items) | Condition::ConnectHost(items) => items
            .iter()
            .flatten()
            .any(|item| matches!(item, HostItem::List(id) if list(id.0))),
        Condition::UrlHost(items) => items
            .iter()
            .any(|item| matches!(item, HostItem::List(id) if list(id.0))),
        Condition::Url(items) => items
            .iter()
            .any(|item| matches!(item, UrlItem::List(id) if list(id.0))),
        _ => false,
    }
}

fn group_mentions(
    set: &RuleSet,
    id: usize,
    changed: &impl Fn(&str, &str) -> bool,
    depth: usize,
) -> bool {
    set.groups.get(id).is_some_and(|group| {
        changed("group", &group.name)
            || group.users.iter().any(|user| changed("user", user))
            || (depth < 16
                && group
                    .groups
                    .iter()
                    .any(|inner| group_mentions(set, inner.0, changed, depth + 1)))
    })
}

/// How many values a condition has.
fn values(condition: &Condition) -> usize {
    match condition {
        Condition::Alpn(all) => all.len(),
        Condition::Application(all) | Condition::Inner(all) | Condition::User(all) => all.len(),
        Condition::Certificate(states) => states.iter().count(),
        Condition::Client(all) | Condition::Destination(all) => all.len(),
        Condition::ConnectHost(all) | Condition::Host(all) => all.len(),
        Condition::ConnectPort(all) | Condition::Port(all) => all.len(),
        Condition::ConnectUserAgent(all)
        | Condition::ContentType(all)
        | Condition::Issuer(all)
        | Condition::UserAgent(all) => all.len(),
        Condition::Header { values, .. } => values.len(),
        Condition::Group(all) => all.len(),
        Condition::Ja4(all) => all.len(),
        Condition::Listener(all) => all.len(),
        Condition::Method(all) => all.len(),
        Condition::Path(all) => all.len(),
        Condition::Schedule(all) => all.len(),
        Condition::Size(all) => all.len(),
        Condition::Tls(states) => states.reasons().count() + usize::from(states.negotiated),
        Condition::TlsVersion(all) | Condition::TlsVersionChosen(all) => all.iter().count(),
        Condition::Url(all) => all.len(),
        Condition::UrlHost(all) => all.len(),
        _ => 1,
    }
}
