//! Flows that may show what a change does: made from the values that the rules themselves name.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Map, Value, json};
use sluice_policy::{
    AddressItem, CertificateState, Condition, HostItem, HostPattern, Ja4Pattern, ListData,
    ListenerPattern, Net, NotNegotiated, RuleSet, Stage, TextPattern, TlsVersion, UrlItem,
    compile::{CompileError, FlatRule},
};

use super::changes::Change;

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
        Condition::Application(all) | Condition::User(all) => all.len(),
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

/// Changes a flow so that a condition holds for one of its values, as far as one can guess.
fn hold(set: &RuleSet, condition: &Condition, at: usize, flow: &mut Flow) {
    let key = condition.key().replace('-', "_");
    let value: Option<Value> = match condition {
        Condition::Not(inner) => {
            if let Some(first) = inner.first() {
                fail(set, first, flow);
            }
            return;
        }
        Condition::Alpn(all) => all
            .get(at)
            .and_then(|name| Some(json!([String::from_utf8_lossy(name.as_deref()?)]))),
        Condition::Application(all) => {
            let name = all.get(at).cloned().flatten();
            if name.is_some() {
                flow.insert("tls".into(), json!("not-tls"));
            }
            name.map(Value::from)
        }
        Condition::Certificate(states) => states.iter().nth(at).map(|state| json!([state.name()])),
        Condition::Client(all) | Condition::Destination(all) => all
            .get(at)
            .and_then(|item| Some(json!(address(set, item)?.to_string()))),
        Condition::ClientCertificate(is)
        | Condition::Ech(is)
        | Condition::HostMismatch(is)
        | Condition::Inspected(is) => Some(json!(is)),
        Condition::HostIsIp(is) => {
            flow.insert(
                "host".into(),
                json!(if *is { "203.0.113.80" } else { "other.example" }),
            );
            return;
        }
        Condition::UrlHostIsIp(is) => {
            flow.insert(
                URL_HOST.into(),
                json!(if *is { "203.0.113.80" } else { "other.example" }),
            );
            return;
        }
        Condition::ConnectHost(all) | Condition::Host(all) => {
            if matches!(condition, Condition::ConnectHost(_)) {
                flow.insert("listener".into(), json!("proxy"));
            }
            all.get(at)
                .and_then(|item| Some(json!(host(set, item.as_ref()?)?)))
        }
        Condition::UrlHost(all) => {
            if let Some(host) = all.get(at).and_then(|item| host(set, item)) {
                flow.insert(URL_HOST.into(), json!(host));
            }
            return;
        }
        Condition::ConnectPort(all) | Condition::Port(all) => {
            all.get(at).map(|range| json!(range.first()))
        }
        Condition::ConnectUserAgent(all)
        | Condition::ContentType(all)
        | Condition::Issuer(all)
        | Condition::UserAgent(all) => all
            .get(at)
            .and_then(|pattern| Some(json!(text(pattern.as_ref()?)))),
        Condition::Header { name, values } => {
            match values.get(at).cloned().flatten() {
                Some(pattern) => {
                    flow.insert("headers".into(), json!({ name.as_str(): text(&pattern) }))
                }
                None => flow.remove("headers"),
            };
            return;
        }
        Condition::Group(all) => {
            let group = all
                .get(at)
                .copied()
                .flatten()
                .and_then(|id| set.groups.get(id.0));
            match group {
                Some(group) => flow.insert("groups".into(), json!([group.name])),
                None => flow.remove("groups"),
            };
            return;
        }
        Condition::Ja4(all) => all.get(at).map(|pattern| match pattern {
            Ja4Pattern::Exact(text) | Ja4Pattern::Prefix(text) => json!(text),
        }),
        Condition::Listener(all) => all.get(at).map(|listener| match listener {
            ListenerPattern::Named(name) => json!(name),
            ListenerPattern::Proxy => json!("proxy"),
            ListenerPattern::Transparent => json!("transparent"),
        }),
        Condition::Method(all) => all.get(at).map(|name| json!(name)),
        Condition::Path(all) => {
            if let Some(pattern) = all.get(at) {
                let path = text(pattern);
                let slash = if path.starts_with('/') { "" } else { "/" };
                flow.insert(PATH.into(), json!(format!("{slash}{path}")));
            }
            return;
        }
        Condition::Schedule(all) => {
            if let Some(time) = all.get(at).and_then(|id| moment(set, &[*id], true)) {
                flow.insert("time".into(), json!(time));
            }
            return;
        }
        Condition::Size(all) => all.get(at).map(|range| json!(range.least)),
        Condition::Tls(states) => {
            let names = states
                .negotiated
                .then_some("negotiated")
                .into_iter()
                .chain(states.reasons().map(NotNegotiated::name));
            names.into_iter().nth(at).map(Value::from)
        }
        Condition::TlsVersion(all) => all.iter().nth(at).map(|version| json!([version.name()])),
        Condition::TlsVersionChosen(all) => all.iter().nth(at).map(|version| json!(version.name())),
        Condition::Url(all) => {
            match all.get(at) {
                Some(UrlItem::Pattern(pattern)) => {
                    let url = text(pattern);
                    let url = if url.contains("://") {
                        url
                    } else {
                        format!("https://{url}")
                    };
                    flow.insert("url".into(), json!(url));
                }
                Some(UrlItem::List(id)) => match set.lists.get(id.0).map(|list| &list.data) {
                    Some(ListData::Urls(urls)) => {
                        if let Some(entry) = urls.first() {
                            flow.insert(URL_HOST.into(), json!(host_of(&entry.host.to_string())));
                            flow.insert(
                                PATH.into(),
                                json!(if entry.path.is_empty() {
                                    "/"
                                } else {
                                    &entry.path
                                }),
                            );
                        }
                    }
                    _ => {
                        if let Some(host) = host(set, &HostItem::List(*id)) {
                            flow.insert(URL_HOST.into(), json!(host));
                        }
                    }
                },
                None => {}
            }
            return;
        }
        Condition::User(all) => Some(
            all.get(at)
                .cloned()
                .flatten()
                .map_or(Value::Null, Value::from),
        ),
    };
    match value {
        Some(value) => drop(flow.insert(key, value)),
        None => drop(flow.remove(&key)),
    }
}

/// Changes a flow so that a condition does not hold, as far as one can guess.
fn fail(set: &RuleSet, condition: &Condition, flow: &mut Flow) {
    let ordinary = base();
    let key = condition.key().replace('-', "_");
    let value: Option<Value> = match condition {
        Condition::Not(inner) => {
            for one in inner {
                hold(set, one, 0, flow);
            }
            return;
        }
        Condition::ClientCertificate(is)
        | Condition::Ech(is)
        | Condition::HostMismatch(is)
        | Condition::Inspected(is) => Some(json!(!is)),
        Condition::HostIsIp(is) => return hold(set, &Condition::HostIsIp(!is), 0, flow),
        Condition::UrlHostIsIp(is) => return hold(set, &Condition::UrlHostIsIp(!is), 0, flow),
        Condition::Certificate(states) => CertificateState::ALL
            .into_iter()
            .rev()
            .find(|&state| !states.contains(state))
            .map(|state| json!([state.name()])),
        Condition::Tls(states) => {
            if states.negotiated {
                NotNegotiated::ALL
                    .into_iter()
                    .find(|&why| !states.contains(why))
                    .map(|why| json!(why.name()))
            } else {
                Some(json!("negotiated"))
            }
        }
        Condition::Client(all) | Condition::Destination(all) => {
            let inside = |address: IpAddr| {
                all.iter()
                    .any(|item| nets(set, item).iter().any(|net| net.contains(address)))
            };
            let others = [
                "198.51.100.77",
                "10.255.254.253",
                "203.0.113.80",
                "2001:db8:ffff::1",
            ];
            others
                .into_iter()
                .find(|other| other.parse().is_ok_and(|address| !inside(address)))
                .map(Value::from)
        }
        Condition::Port(all) | Condition::ConnectPort(all) => [443, 80, 8443, 1, 65535]
            .into_iter()
            .find(|&port| !all.iter().any(|range| range.contains(port)))
            .map(Value::from),
        Condition::Group(all) => {
            let absent = all.contains(&None);
            let group = set.groups.first().filter(|_| absent);
            group.map(|group| json!([group.name])).or_else(|| {
                flow.remove("groups");
                None
            })
        }
        Condition::User(all) => Some(if all.contains(&None) {
            json!("somebody")
        } else {
            Value::Null
        }),
        Condition::Method(all) => ["GET", "POST", "OPTIONS", "HEAD"]
            .into_iter()
            .find(|other| !all.iter().any(|name| name == other))
            .map(Value::from),
        Condition::Schedule(all) => moment(set, all, false).map(Value::from),
        Condition::TlsVersion(all) => TlsVersion::ALL
            .into_iter()
            .rev()
            .find(|&version| !all.iter().any(|one| one == version))
            .map(|version| json!([version.name()])),
        Condition::TlsVersionChosen(all) => TlsVersion::ALL
            .into_iter()
            .rev()
            .find(|&version| !all.iter().any(|one| one == version))
            .map(|version| json!(version.name())),
        Condition::Path(_) | Condition::Url(_) | Condition::UrlHost(_) => {
            for key in ["url", PATH, URL_HOST] {
                flow.remove(key);
            }
            return;
        }
        Condition::Header { .. } => {
            flow.remove("headers");
            return;
        }
        Condition::Listener(all) => Some(if all.contains(&ListenerPattern::Transparent) {
            json!("another proxy")
        } else {
            json!("transparent")
        }),
        _ => ordinary.get(&key).cloned(),
    };
    let key = match condition {
        Condition::Group(_) => "groups".to_owned(),
        Condition::Schedule(_) => "time".to_owned(),
        _ => key,
    };
    match value {
        Some(value) => drop(flow.insert(key, value)),
        None => drop(flow.remove(&key)),
    }
}

/// A moment within one of some schedules, or outside all of them.
fn moment(set: &RuleSet, ids: &[sluice_policy::ScheduleId], within: bool) -> Option<i64> {
    const START: i64 = 1_767_225_600;
    const QUARTER: i64 = 900;
    let schedules: Vec<_> = ids
        .iter()
        .filter_map(|id| set.schedules.get(id.0))
        .collect();
    (0..366 * 96)
        .map(|step| START + step * QUARTER)
        .find(|&time| schedules.iter().any(|schedule| schedule.contains(time)) == within)
}

fn nets(set: &RuleSet, item: &AddressItem) -> Vec<Net> {
    match item {
        AddressItem::Net(net) => vec![*net],
        AddressItem::List(id) => match set.lists.get(id.0).map(|list| &list.data) {
            Some(ListData::Addresses(nets)) => nets.to_vec(),
            _ => Vec::new(),
        },
    }
}

fn address(set: &RuleSet, item: &AddressItem) -> Option<IpAddr> {
    nets(set, item).first().map(|net| net.address())
}

fn host(set: &RuleSet, item: &HostItem) -> Option<String> {
    match item {
        HostItem::Pattern(HostPattern::Below(name)) => Some(format!("below.{name}")),
        HostItem::Pattern(pattern) => Some(pattern.name().to_owned()),
        HostItem::List(id) => match set.lists.get(id.0).map(|list| &list.data) {
            Some(ListData::Domains(names)) => names.iter().next().map(|name| host_of(&name)),
            _ => None,
        },
    }
}

/// A name that a pattern matches.
fn host_of(pattern: &str) -> String {
    match pattern.strip_prefix("*.") {
        Some(name) => format!("below.{name}"),
        None => pattern.trim_start_matches('.').to_owned(),
    }
}

/// A text that a pattern matches; of a regular expression its plain letters, which is a guess.
fn text(pattern: &TextPattern) -> String {
    match pattern {
        TextPattern::Exact(text) | TextPattern::Prefix(text) => text.to_string(),
        TextPattern::Regex(regex) => {
            let plain = regex
                .replace(".*", "x")
                .replace(".+", "x")
                .replace("(?i)", "");
            let first = plain.split('|').next().unwrap_or_default();
            first
                .chars()
                .filter(|c| !matches!(c, '^' | '$' | '\\' | '(' | ')' | '?'))
                .collect()
        }
    }
}
