//! Conditions of rules.

use sluice_policy::{
    AddressItem, CertificateState, CertificateStates, Condition, HostError, HostItem, NetError,
    NotNegotiated, PortError, PortRange, TlsStates, TlsVersion, TlsVersions, UrlItem,
};

use super::{
    lists::ListKind,
    names::Names,
    pattern, people,
    read::{Item, Keys, Section, unknown_word},
};

const CONDITIONS: Keys = Keys {
    known: &[
        "client",
        "destination",
        "port",
        "listener",
        "user",
        "group",
        "schedule",
        "connect-host",
        "connect-host-is-ip",
        "connect-port",
        "connect-user-agent",
        "host",
        "host-is-ip",
        "host-mismatch",
        "tls",
        "tls-version",
        "tls-version-chosen",
        "alpn",
        "ja4",
        "ech",
        "application",
        "certificate",
        "issuer",
        "client-certificate",
        "inner",
        "inspected",
        "url",
        "url-host",
        "url-host-is-ip",
        "path",
        "method",
        "header",
        "user-agent",
        "content-type",
        "size",
        "not",
    ],
    later: &[],
};

/// Reads a table of conditions.
pub(super) fn conditions(item: &Item<'_>, names: &Names) -> Vec<Condition> {
    let Some(section) = item.section(&title(item), CONDITIONS) else {
        return Vec::new();
    };
    read(&section, names)
}

/// Reads `not`, which holds where its conditions do not all hold.
pub(super) fn negation(item: &Item<'_>, names: &Names) -> Option<Condition> {
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

fn read(section: &Section<'_>, names: &Names) -> Vec<Condition> {
    let mut found = Vec::new();
    for (key, item) in section.items() {
        if !CONDITIONS.known.contains(&key) {
            continue;
        }
        if is_empty(&item) {
            continue;
        }
        match key {
            "header" => found.extend(headers(&item)),
            "url" if item.is_table() => found.extend(url_parts(&item, names)),
            _ => found.extend(one(key, &item, names)),
        }
    }
    found
}

fn is_empty(item: &Item<'_>) -> bool {
    let is_empty = item.each().is_empty();
    if is_empty {
        item.note("an empty list never holds: write a value, or take the condition out");
    }
    is_empty
}

fn one(key: &str, item: &Item<'_>, names: &Names) -> Option<Condition> {
    let addresses = || values(item, |text| address(text, names));
    let host = |text: &str| host(text, names);
    Some(match key {
        "client" => Condition::Client(addresses()),
        "destination" => Condition::Destination(addresses()),
        "port" => Condition::Port(values(item, port)),
        "listener" => Condition::Listener(values(item, |text| names.listener(text))),
        "user" => Condition::User(optional(item, people::user)),
        "group" => Condition::Group(optional(item, |text| names.group(text))),
        "schedule" => Condition::Schedule(values(item, |text| names.schedule(text))),
        "connect-host" => Condition::ConnectHost(optional(item, host)),
        "connect-host-is-ip" => Condition::ConnectHostIsIp(item.boolean()?),
        "connect-port" => Condition::ConnectPort(values(item, port)),
        "connect-user-agent" => Condition::ConnectUserAgent(optional(item, pattern::text)),
        "host" => Condition::Host(optional(item, host)),
        "host-is-ip" => Condition::HostIsIp(item.boolean()?),
        "host-mismatch" => Condition::HostMismatch(item.boolean()?),
        "tls" => Condition::Tls(tls(item)),
        "tls-version" => Condition::TlsVersion(versions(item)),
        "tls-version-chosen" => Condition::TlsVersionChosen(versions(item)),
        "alpn" => Condition::Alpn(optional(item, pattern::alpn)),
        "ja4" => Condition::Ja4(values(item, pattern::ja4)),
        "ech" => Condition::Ech(item.boolean()?),
        "application" => Condition::Application(optional(item, pattern::application)),
        "certificate" => Condition::Certificate(certificate(item)),
        "issuer" => Condition::Issuer(optional(item, pattern::issuer)),
        "client-certificate" => Condition::ClientCertificate(item.boolean()?),
        "inner" => Condition::Inner(optional(item, pattern::inner)),
        "inspected" => Condition::Inspected(item.boolean()?),
        "url" => Condition::Url(values(item, |text| url(text, names))),
        "url-host" => Condition::UrlHost(values(item, host)),
        "url-host-is-ip" => Condition::UrlHostIsIp(item.boolean()?),
        "path" => Condition::Path(values(item, pattern::path)),
        "method" => Condition::Method(values(item, pattern::method)),
        "user-agent" => Condition::UserAgent(optional(item, pattern::text)),
        "content-type" => Condition::ContentType(optional(item, pattern::content_type)),
        "size" => Condition::Size(values(item, pattern::size)),
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

/// Values, and `None` for `{ absent = true }`.
fn optional<T>(item: &Item<'_>, read: impl Fn(&str) -> Result<T, String>) -> Vec<Option<T>> {
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
        let Some(section) = item.section("the condition", ABSENT) else {
            continue;
        };
        match section.get("absent").map(|absent| absent.boolean()) {
            Some(Some(true)) => found.push(None),
            Some(Some(false)) => {
                item.note("expected { absent = true }; for the contrary use `not`");
            }
            None if section.items().next().is_none() => {
                item.note("expected a text, a list of texts or { absent = true }");
            }
            // Noted already.
            Some(None) | None => {}
        }
    }
    found
}

fn address(text: &str, names: &Names) -> Result<AddressItem, String> {
    if let Some(list) = names.list(text, &[ListKind::Addresses]) {
        return list.map(AddressItem::List);
    }
    let net = text.parse().map_err(|error: NetError| error.to_string())?;
    Ok(AddressItem::Net(net))
}

fn port(text: &str) -> Result<PortRange, String> {
    text.parse().map_err(|error: PortError| error.to_string())
}

fn host(text: &str, names: &Names) -> Result<HostItem, String> {
    if let Some(list) = names.list(text, &[ListKind::Domains]) {
        return list.map(HostItem::List);
    }
    let host = text.parse().map_err(|error: HostError| error.to_string())?;
    Ok(HostItem::Pattern(host))
}

fn url(text: &str, names: &Names) -> Result<UrlItem, String> {
    if let Some(list) = names.list(text, &[ListKind::Urls, ListKind::Domains]) {
        return list.map(UrlItem::List);
    }
    pattern::url(text).map(UrlItem::Pattern)
}

/// `url.path`, `url.host` and `url.host-is-ip`: the parts of a URL under the names of their own.
fn url_parts(item: &Item<'_>, names: &Names) -> Vec<Condition> {
    const PARTS: Keys = Keys {
        known: &["path", "host", "host-is-ip"],
        later: &[],
    };
    let Some(section) = item.section("`url`", PARTS) else {
        return Vec::new();
    };
    if section.items().next().is_none() {
        item.note("expected `path`, `host` or `host-is-ip`");
    }
    let parts = [
        ("path", "path"),
        ("host", "url-host"),
        ("host-is-ip", "url-host-is-ip"),
    ];
    parts
        .into_iter()
        .filter_map(|(part, key)| {
            let item = section.get(part).filter(|item| !is_empty(item))?;
            one(key, &item, names)
        })
        .collect()
}

/// One condition for every field that is named.
fn headers(item: &Item<'_>) -> Vec<Condition> {
    let fields = item.any_section("`header`");
    if fields
        .as_ref()
        .is_some_and(|section| section.items().next().is_none())
    {
        item.note("expected the name of a field, as in { \"x-name\" = \"value\" }");
    }
    let fields = fields.iter().flat_map(Section::items);
    fields
        .filter(|(_, item)| !is_empty(item))
        .filter_map(|(name, item)| {
            let name = pattern::field(name)
                .map_err(|message| item.note(message))
                .ok()?;
            let values = optional(&item, pattern::text);
            Some(Condition::Header { name, values })
        })
        .collect()
}

fn versions(item: &Item<'_>) -> TlsVersions {
    TlsVersions::of(values(item, |text| {
        let words = TlsVersion::ALL.into_iter().map(TlsVersion::name);
        TlsVersion::from_name(text).ok_or_else(|| unknown_word(text, words))
    }))
}

fn certificate(item: &Item<'_>) -> CertificateStates {
    let states = values(item, |text| {
        if text == "invalid" {
            return Ok(CertificateState::INVALID.to_vec());
        }
        let words = CertificateState::ALL
            .into_iter()
            .map(CertificateState::name);
        CertificateState::from_name(text)
            .map(|state| vec![state])
            .ok_or_else(|| unknown_word(text, words.chain(["invalid"])))
    });
    CertificateStates::of(states.into_iter().flatten())
}

fn tls(item: &Item<'_>) -> TlsStates {
    const BY_REASON: Keys = Keys {
        known: &["reason", "proof"],
        later: &[],
    };
    let mut found = TlsStates::default();
    for item in item.each() {
        if !item.is_table() {
            let states = item.parse(|text| tls_states(text, false));
            found = found.union(states.unwrap_or_default());
            continue;
        }
        let Some(section) = item.section("`tls`", BY_REASON) else {
            continue;
        };
        let proof = section
            .get("proof")
            .and_then(|proof| proof.choice(&[("probe", ())]));
        let Some(reasons) = section.get("reason") else {
            if section.items().all(|(key, _)| key == "proof") {
                item.note(
                    "expected reasons, as in { reason = [\"not-negotiated\"], proof = \"probe\" }",
                );
            }
            continue;
        };
        if is_empty(&reasons) {
            continue;
        }
        for states in values(&reasons, |text| tls_states(text, proof.is_some())) {
            found = found.union(states);
        }
    }
    found
}

fn tls_states(text: &str, probe: bool) -> Result<TlsStates, String> {
    match text {
        "negotiated" => return Ok(TlsStates::NEGOTIATED),
        "not-negotiated" if probe => return Ok(TlsStates::not_negotiated_by_probe()),
        "not-negotiated" => return Ok(TlsStates::not_negotiated()),
        _ => {}
    }
    let words = ["negotiated", "not-negotiated"]
        .into_iter()
        .chain(NotNegotiated::ALL.into_iter().map(NotNegotiated::name));
    NotNegotiated::from_name(text)
        .map(|reason| TlsStates::of([reason]))
        .ok_or_else(|| unknown_word(text, words))
}
