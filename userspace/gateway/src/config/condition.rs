//! Conditions of rules.

use sluice_policy::{
    Condition, GroupId, HostError, HostPattern, Ja4Pattern, Listener, Net, NetError, NotNegotiated,
    PortError, PortRange,
};

use super::{
    read::{Item, Keys, Section, unknown_word},
    rules::Names,
};

const CONDITIONS: Keys = Keys {
    known: &[
        "client",
        "destination",
        "port",
        "listener",
        "group",
        "host",
        "host-is-ip",
        "tls",
        "alpn",
        "ja4",
        "ech",
        "not",
    ],
    later: &[
        "user",
        "schedule",
        "connect-host",
        "connect-port",
        "connect-user-agent",
        "host-mismatch",
        "tls-version",
        "tls-version-chosen",
        "application",
        "certificate",
        "issuer",
        "client-certificate",
        "inspected",
        "url",
        "path",
        "method",
        "header",
        "user-agent",
        "content-type",
        "size",
    ],
};

/// Reads a table of conditions.
pub(super) fn conditions(item: &Item<'_>, names: &Names<'_>) -> Vec<Condition> {
    let Some(section) = item.section(&title(item), CONDITIONS) else {
        return Vec::new();
    };
    read(&section, names)
}

/// Reads `not`, which holds where its conditions do not all hold.
pub(super) fn negation(item: &Item<'_>, names: &Names<'_>) -> Option<Condition> {
    let section = item.section(&title(item), CONDITIONS)?;
    if section.items().next().is_none() {
        item.note("expected at least one condition");
    }
    Some(Condition::Not(read(&section, names)))
}

/// `` `when` in [[rule]] `` is `` `when` `` in the messages about its own keys.
fn title(item: &Item<'_>) -> String {
    item.title
        .split(" in ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn read(section: &Section<'_>, names: &Names<'_>) -> Vec<Condition> {
    let known = |(key, _): &(&str, Item<'_>)| CONDITIONS.known.contains(key);
    section
        .items()
        .filter(known)
        .filter_map(|(key, item)| one(key, &item, names))
        .collect()
}

fn one(key: &str, item: &Item<'_>, names: &Names<'_>) -> Option<Condition> {
    if item.each().is_empty() {
        item.note("an empty list never holds: write a value, or take the condition out");
        return None;
    }
    Some(match key {
        "client" => Condition::Client(values(item, net)),
        "destination" => Condition::Destination(values(item, net)),
        "port" => Condition::Port(values(item, port)),
        "listener" => values(item, listener)
            .into_iter()
            .map(Condition::Listener)
            .next()?,
        "group" => Condition::Group(groups(item, names)?),
        "host" => Condition::Host(optional(item, host)?),
        "host-is-ip" => Condition::HostIsIp(item.boolean()?),
        "tls" => Condition::Tls(tls(item)?),
        "alpn" => Condition::Alpn(optional(item, alpn)?),
        "ja4" => Condition::Ja4(values(item, ja4)),
        "ech" => Condition::Ech(item.boolean()?),
        "not" => negation(item, names)?,
        _ => return None,
    })
}

fn values<T>(item: &Item<'_>, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    item.each()
        .iter()
        .filter_map(|item| item.parse(&read))
        .collect()
}

fn groups(item: &Item<'_>, names: &Names<'_>) -> Option<Vec<GroupId>> {
    if item.is_table() {
        item.note("`absent` needs users, which are not yet supported in this version");
        return None;
    }
    Some(values(item, |text| names.group(text)))
}

/// Values, and `None` for `{ absent = true }`.
fn optional<T>(
    item: &Item<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<Option<T>>> {
    const ABSENT: Keys = Keys {
        known: &["absent"],
        later: &[],
    };
    let mut found = Vec::new();
    for item in item.each() {
        if !item.is_table() {
            found.extend(item.parse(&read).map(Some));
            continue;
        }
        let section = item.section("the condition", ABSENT)?;
        match section.get("absent").and_then(|absent| absent.boolean()) {
            Some(true) => found.push(None),
            Some(false) => item.note("expected { absent = true }; for the contrary use `not`"),
            None => item.note("expected a text, a list of texts or { absent = true }"),
        }
    }
    Some(found)
}

fn net(text: &str) -> Result<Net, String> {
    no_list(text, "addresses")?;
    text.parse().map_err(|error: NetError| error.to_string())
}

fn port(text: &str) -> Result<PortRange, String> {
    text.parse().map_err(|error: PortError| error.to_string())
}

fn host(text: &str) -> Result<HostPattern, String> {
    no_list(text, "names")?;
    text.parse().map_err(|error: HostError| error.to_string())
}

fn no_list(text: &str, instead: &str) -> Result<(), String> {
    if text.starts_with("list:") {
        return Err(format!(
            "lists are not yet supported in this version: write the {instead}"
        ));
    }
    Ok(())
}

fn listener(text: &str) -> Result<Listener, String> {
    match text {
        "transparent" => Ok(Listener::Transparent),
        _ => Err("in this version the only listener is \"transparent\"".into()),
    }
}

fn alpn(text: &str) -> Result<Vec<u8>, String> {
    // RFC 7301 section 3.1.
    if (1..=255).contains(&text.len()) {
        return Ok(text.as_bytes().to_vec());
    }
    Err("expected the name of a protocol such as \"h2\", of at most 255 bytes".into())
}

fn ja4(text: &str) -> Result<Ja4Pattern, String> {
    let (start, open) = match text.strip_suffix('*') {
        Some(start) => (start, true),
        None => (text, false),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let well_formed = start.chars().all(allowed) && (start.len() == 36 || open && start.len() < 36);
    if !well_formed || start.is_empty() {
        return Err(
            "expected a JA4 fingerprint such as \"t13d1516h2_8daaf6152771_e5627efa2ab1\", \
                    or the beginning of one such as \"t13d*\""
                .into(),
        );
    }
    let start = start.to_owned();
    Ok(if open {
        Ja4Pattern::Prefix(start)
    } else {
        Ja4Pattern::Exact(start)
    })
}

/// Reasons that only the origin's answer, a probe or an interception tells.
const LATER_REASONS: [&str; 7] = [
    "client-rejected-ca",
    "no-common-version",
    "no-common-cipher",
    "inconsistent-server-hello",
    "origin-closed",
    "origin-handshake-failed",
    "client-certificate-required",
];

fn tls(item: &Item<'_>) -> Option<Vec<Option<NotNegotiated>>> {
    const BY_REASON: Keys = Keys {
        known: &["reason"],
        later: &["proof"],
    };
    if item.is_table() {
        let section = item.section("`tls`", BY_REASON)?;
        let Some(reasons) = section.get("reason") else {
            item.note("expected a text, a list of texts or { reason = [...] }");
            return None;
        };
        let values: Vec<_> = reasons
            .each()
            .iter()
            .filter_map(|item| item.parse(tls_state))
            .collect();
        return Some(values.into_iter().flatten().collect());
    }
    Some(values(item, tls_state).into_iter().flatten().collect())
}

fn tls_state(text: &str) -> Result<Vec<Option<NotNegotiated>>, String> {
    match text {
        "negotiated" => return Ok(vec![None]),
        "not-negotiated" => return Ok(NotNegotiated::ALL.map(Some).to_vec()),
        _ => {}
    }
    if let Some(reason) = NotNegotiated::from_name(text) {
        return Ok(vec![Some(reason)]);
    }
    if LATER_REASONS.contains(&text) {
        return Err(
            "not yet supported in this version, which knows what the client's first bytes \
                    tell: name another reason"
                .into(),
        );
    }
    let words = ["negotiated", "not-negotiated"]
        .into_iter()
        .chain(NotNegotiated::ALL.into_iter().map(NotNegotiated::name));
    Err(unknown_word(text, words))
}
