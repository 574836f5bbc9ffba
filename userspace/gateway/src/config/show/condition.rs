//! Conditions, for people to read.

use sluice_policy::{
    AddressItem, Condition, GroupId, HostItem, Ja4Pattern, ListId, ListenerPattern, NotNegotiated,
    PortRange, RuleSet, ScheduleId, SizeRange, TextPattern, TlsStates, TlsVersion, TlsVersions,
    UrlItem,
};

use super::super::show_size;

/// Values that are written out; of more there is only the number.
const MOST_VALUES: usize = 8;

/// Writes a condition much as the configuration has it: `host = a.example | list:banks`. Names are
/// looked up in the rule set that the condition belongs to, and of many values only some are
/// written.
#[must_use]
pub fn condition(set: &RuleSet, condition: &Condition) -> String {
    let key = condition.key();
    let values = match condition {
        Condition::Not(inner) => {
            let inner: Vec<_> = inner.iter().map(|one| self::condition(set, one)).collect();
            return format!("not ({})", inner.join(" and "));
        }
        Condition::Header { name, values } => {
            return format!("{key} {name} = {}", maybe(values, TextPattern::to_string));
        }
        Condition::Alpn(names) => maybe(names, |name| String::from_utf8_lossy(name).into_owned()),
        Condition::Application(names) | Condition::Inner(names) => maybe(names, String::clone),
        Condition::Certificate(states) => {
            let states: Vec<_> = states.iter().collect();
            any(&states, |state| state.name().to_owned())
        }
        Condition::Client(items) | Condition::Destination(items) => any(items, |item| match item {
            AddressItem::List(id) => list(set, *id),
            AddressItem::Net(net) => net.to_string(),
        }),
        Condition::ClientCertificate(expected)
        | Condition::ConnectHostIsIp(expected)
        | Condition::Ech(expected)
        | Condition::HostIsIp(expected)
        | Condition::HostMismatch(expected)
        | Condition::Inspected(expected)
        | Condition::UrlHostIsIp(expected) => expected.to_string(),
        Condition::ConnectHost(items) | Condition::Host(items) => {
            maybe(items, |item| host(set, item))
        }
        Condition::ConnectPort(ranges) | Condition::Port(ranges) => {
            any(ranges, PortRange::to_string)
        }
        Condition::ConnectUserAgent(texts)
        | Condition::ContentType(texts)
        | Condition::Issuer(texts)
        | Condition::UserAgent(texts) => maybe(texts, TextPattern::to_string),
        Condition::Group(ids) => maybe(ids, |&id| format!("\"{}\"", group_name(set, id))),
        Condition::Ja4(patterns) => any(patterns, |pattern| match pattern {
            Ja4Pattern::Exact(whole) => whole.clone(),
            Ja4Pattern::Prefix(start) => format!("{start}*"),
        }),
        Condition::Listener(listeners) => any(listeners, |listener| match listener {
            ListenerPattern::Named(name) => format!("\"{name}\""),
            ListenerPattern::Proxy => "proxy".into(),
            ListenerPattern::Transparent => "transparent".into(),
        }),
        Condition::Method(methods) => any(methods, String::clone),
        Condition::Path(texts) => any(texts, TextPattern::to_string),
        Condition::Schedule(ids) => any(ids, |&ScheduleId(id)| {
            let schedule = set.schedules.get(id);
            format!("\"{}\"", schedule.map_or("?", |schedule| &schedule.name))
        }),
        Condition::Size(ranges) => any(ranges, size),
        Condition::Tls(states) => tls(*states),
        Condition::TlsVersion(versions) | Condition::TlsVersionChosen(versions) => {
            self::versions(*versions)
        }
        Condition::Url(items) => any(items, |item| match item {
            UrlItem::List(id) => list(set, *id),
            UrlItem::Pattern(pattern) => pattern.to_string(),
        }),
        Condition::UrlHost(items) => any(items, |item| host(set, item)),
        Condition::User(names) => maybe(names, |name| format!("\"{name}\"")),
    };
    format!("{key} = {values}")
}

/// Any of some values; of many only the first.
fn any<T>(values: &[T], show: impl Fn(&T) -> String) -> String {
    abbreviated(values.len(), values.iter().map(show), " | ")
}

/// The same where a value may be that there is none.
fn maybe<T>(values: &[Option<T>], show: impl Fn(&T) -> String) -> String {
    any(values, |value| {
        value.as_ref().map_or_else(|| "absent".to_owned(), &show)
    })
}

/// The first of `count` values, joined by `glue`, and how many there are besides.
pub(in crate::config) fn abbreviated(
    count: usize,
    values: impl Iterator<Item = String>,
    glue: &str,
) -> String {
    let mut shown: Vec<_> = values.take(MOST_VALUES).collect();
    if let Some(more @ 1..) = count.checked_sub(MOST_VALUES) {
        shown.push(format!("... and {more} more"));
    }
    shown.join(glue)
}

fn list(set: &RuleSet, ListId(id): ListId) -> String {
    let name = set.lists.get(id).map_or("?", |list| &list.name);
    format!("list:{name}")
}

fn host(set: &RuleSet, item: &HostItem) -> String {
    match item {
        HostItem::List(id) => list(set, *id),
        HostItem::Pattern(pattern) => pattern.to_string(),
    }
}

pub(super) fn group_name(set: &RuleSet, GroupId(id): GroupId) -> &str {
    set.groups.get(id).map_or("?", |group| group.name.as_str())
}

/// Bounds are written so that they are round, as they were in the configuration.
fn size(range: &SizeRange) -> String {
    let &SizeRange { least, most } = range;
    let is_round = |size: u64| size.is_multiple_of(1024);
    match (least, most) {
        (0, most) if is_round(most) => format!("<={}", show_size(most)),
        (0, most) => format!("<{}", show_size(most.saturating_add(1))),
        (least, u64::MAX) if is_round(least) => format!(">={}", show_size(least)),
        (least, u64::MAX) => format!(">{}", show_size(least - 1)),
        (least, most) => format!("{}-{}", show_size(least), show_size(most)),
    }
}

fn tls(states: TlsStates) -> String {
    let (general, probed) = (
        TlsStates::not_negotiated(),
        TlsStates::not_negotiated_by_probe(),
    );
    let holds = |whole: TlsStates| whole.reasons().all(|reason| states.contains(reason));
    let mut words = Vec::new();
    if states.negotiated {
        words.push("negotiated");
    }
    let named = if holds(probed) {
        words.push("not-negotiated (also by a probe)");
        probed
    } else if holds(general) {
        words.push("not-negotiated");
        general
    } else {
        TlsStates::default()
    };
    let single = states.reasons().filter(|&reason| !named.contains(reason));
    words.extend(single.map(NotNegotiated::name));
    words.join(" | ")
}

fn versions(versions: TlsVersions) -> String {
    let names: Vec<_> = versions.iter().map(TlsVersion::name).collect();
    names.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_are_counted() {
        let ports = |count: u16| Condition::Port((1..=count).map(PortRange::single).collect());
        let shown = |count| condition(&RuleSet::default(), &ports(count));
        assert_eq!(shown(8), "port = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8");
        assert_eq!(
            shown(11),
            "port = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | ... and 3 more"
        );
    }

    #[test]
    fn sizes_are_round() {
        for (least, most, text) in [
            (1025, u64::MAX, ">1KiB"),
            (1024, u64::MAX, ">=1KiB"),
            (0, 1023, "<1KiB"),
            (0, 1024, "<=1KiB"),
            (1, 1024, "1B-1KiB"),
        ] {
            assert_eq!(size(&SizeRange { least, most }), text);
        }
    }
}
