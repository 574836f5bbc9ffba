//! Values for which a condition holds, and values for which it does not.

use std::net::IpAddr;

use serde_json::{Value, json};
use sluice_policy::{
    AddressItem, CertificateState, Condition, HostItem, HostPattern, Ja4Pattern, ListData,
    ListenerPattern, Net, NotNegotiated, RuleSet, TextPattern, TlsVersion, UrlItem,
};

use super::{Flow, PATH, URL_HOST, base};

/// Changes a flow so that a condition holds for one of its values, as far as one can guess.
pub(super) fn hold(set: &RuleSet, condition: &Condition, at: usize, flow: &mut Flow) {
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
        Condition::Inner(all) => all
            .get(at)
            .map(|name| name.as_deref().map_or(Value::Null, Value::from)),
        Condition::Certificate(states) => states.iter().nth(at).map(|state| json!([state.name()])),
        Condition::Client(all) | Condition::Destination(all) => all
            .get(at)
            .and_then(|item| Some(json!(address(set, item)?.to_string()))),
        Condition::ClientCertificate(is)
        | Condition::Ech(is)
        | Condition::HostMismatch(is)
        | Condition::Inspected(is) => Some(json!(is)),
        Condition::ConnectHostIsIp(is) => {
            flow.insert("listener".into(), json!("proxy"));
            flow.insert(
                "connect_host".into(),
                json!(if *is { "203.0.113.80" } else { "other.example" }),
            );
            return;
        }
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
pub(super) fn fail(set: &RuleSet, condition: &Condition, flow: &mut Flow) {
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
        Condition::ConnectHostIsIp(is) => {
            return hold(set, &Condition::ConnectHostIsIp(!is), 0, flow);
        }
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
        Condition::Inner(all) => [Some("http"), None, Some("websocket"), Some("ssh")]
            .into_iter()
            .find(|other| !all.iter().any(|name| name.as_deref() == *other))
            .map(|other| other.map_or(Value::Null, Value::from)),
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
pub(super) fn moment(
    set: &RuleSet,
    ids: &[sluice_policy::ScheduleId],
    within: bool,
) -> Option<i64> {
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

pub(super) fn nets(set: &RuleSet, item: &AddressItem) -> Vec<Net> {
    match item {
        AddressItem::Net(net) => vec![*net],
        AddressItem::List(id) => match set.lists.get(id.0).map(|list| &list.data) {
            Some(ListData::Addresses(nets)) => nets.to_vec(),
            _ => Vec::new(),
        },
    }
}

pub(super) fn address(set: &RuleSet, item: &AddressItem) -> Option<IpAddr> {
    nets(set, item).first().map(|net| net.address())
}

pub(super) fn host(set: &RuleSet, item: &HostItem) -> Option<String> {
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
pub(super) fn host_of(pattern: &str) -> String {
    match pattern.strip_prefix("*.") {
        Some(name) => format!("below.{name}"),
        None => pattern.trim_start_matches('.').to_owned(),
    }
}

/// A text that a pattern matches; of a regular expression its plain letters, which is a guess.
pub(super) fn text(pattern: &TextPattern) -> String {
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
