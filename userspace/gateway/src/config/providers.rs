//! The providers of `[identity]`: who is asked about credentials.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    names::{name, one_line},
    proxy::WORDS,
    read::{Item, Keys, Section},
    sources::Files,
    value,
};
use crate::identity::{
    basic,
    htpasswd::Users,
    ldap::{self, Bind, Groups, Transport, filter_of},
    negotiate,
    secret::Secret,
    settings::{Htpasswd, Kind, Provider, Settings, Unavailable},
};

const HTPASSWD: Keys = Keys {
    known: &["name", "kind", "file", "groups", "cache"],
    later: &[],
};

const LDAP: Keys = Keys {
    known: &[
        "name",
        "kind",
        "url",
        "starttls",
        "danger_plaintext",
        "ca",
        "bind",
        "user_dn",
        "base",
        "filter",
        "bind_dn",
        "bind_password_file",
        "user_attribute",
        "group_base",
        "group_filter",
        "group_name",
        "member_of",
        "nested",
        "timeout",
        "pool",
        "unavailable",
        "cache",
    ],
    later: &[],
};

const NEGOTIATE: Keys = Keys {
    known: &[
        "name",
        "kind",
        "keytab",
        "service",
        "realm",
        "strip_realm",
        "unavailable",
    ],
    later: &[],
};

/// Longest time for which a user is recognised without asking again: a password that was changed
/// and a user who was taken out still work so long.
const CACHE: Duration = Duration::from_secs(86_400);

/// Longest time that a client waits for a directory.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reads what `[identity]` says of providers.
pub(super) fn settings(identity: &Section<'_>, files: &Files<'_>) -> Settings {
    let default = Settings::default();
    let realm = |text: &str| {
        one_line(text)?;
        match basic::challenge(text) {
            Some(_) => Ok(text.into()),
            None => Err("cannot be said in a header: take the unusual characters out".into()),
        }
    };
    Settings {
        realm: identity.value("realm", default.realm, realm),
        providers: providers(identity, files),
    }
}

fn providers(identity: &Section<'_>, files: &Files<'_>) -> Vec<Provider> {
    const TITLE: &str = "[[identity.provider]]";
    let Some(item) = identity.get("provider") else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    // The keys are those of the kind, which is read first.
    if item.each().iter().any(|one| !one.is_table()) {
        item.note(format!("expected tables, each written as {TITLE}"));
        return Vec::new();
    }
    for one in item.each() {
        let Some(section) = one.any_section(TITLE) else {
            continue;
        };
        let name = name(&section);
        if let Some(name) = &name
            && WORDS.contains(&name.as_str())
            && let Some(item) = section.get("name")
        {
            item.note("is a word of its own in `identify` of a proxy: choose another");
        }
        if let Some(name) = &name
            && !seen.insert(name.clone())
            && let Some(item) = section.get("name")
        {
            item.note(format!("there are two providers \"{name}\": rename one"));
        }
        let Some(kind) = section.get("kind") else {
            section.missing("kind", "write \"htpasswd\", \"ldap\" or \"negotiate\"");
            continue;
        };
        let kinds: [(&str, (Keys, Read)); 3] = [
            ("htpasswd", (HTPASSWD, htpasswd)),
            ("ldap", (LDAP, ldap)),
            ("negotiate", (NEGOTIATE, negotiate)),
        ];
        let Some((keys, read)) = kind.choice(&kinds) else {
            continue;
        };
        let Some(section) = one.section(TITLE, keys) else {
            continue;
        };
        let provider = Provider {
            name: name.unwrap_or_default().into(),
            cache: within(&section, "cache", Duration::from_secs(300), CACHE),
            unavailable: section.choice(
                "unavailable",
                Unavailable::default(),
                &[Unavailable::Block, Unavailable::Anonymous].map(|one| (one.name(), one)),
            ),
            kind: match read(&section, files) {
                Some(kind) => kind,
                None => continue,
            },
        };
        found.push(provider);
    }
    found
}

/// Notes every mistake; `None` where nothing can be made of the rest.
type Read = fn(&Section<'_>, &Files<'_>) -> Option<Kind>;

fn within(section: &Section<'_>, key: &str, default: Duration, most: Duration) -> Duration {
    let read = section.value(key, default, value::duration);
    if read > most
        && let Some(item) = section.get(key)
    {
        item.note(format!(
            "expected at most \"{}\"",
            value::show_duration(most)
        ));
    }
    read
}

fn htpasswd(section: &Section<'_>, files: &Files<'_>) -> Option<Kind> {
    let mut users = Users::default();
    let mut file = None;
    if let Some(item) = section.get("file") {
        file = item.parse(|text| files.path(text));
        if let Some(text) = file.as_ref().and_then(|_| files.read(&item)) {
            text.lines(&item, |text, errors, most| {
                users = Users::read(text, errors, most);
            });
        }
    } else {
        section.missing("file", "name the file that `htpasswd -B` keeps");
    }
    let mut groups = None;
    if let Some(item) = section.get("groups") {
        groups = item.parse(|text| files.path(text));
        if let Some(text) = groups.as_ref().and_then(|_| files.read(&item)) {
            text.lines(&item, |text, errors, most| {
                users.read_groups(text, errors, most);
            });
        }
    }
    Some(Kind::Htpasswd(Arc::new(Htpasswd {
        file: file.unwrap_or_default(),
        groups,
        users,
    })))
}

fn negotiate(section: &Section<'_>, _: &Files<'_>) -> Option<Kind> {
    let needed = |key, cure| {
        if section.get(key).is_none() {
            section.missing(key, cure);
        }
        text(section, key)
    };
    let (keytab, service, realm) = (
        needed("keytab", "name the file, as in \"/etc/sluice/http.keytab\""),
        needed("service", "say it as in \"HTTP@proxy.example\""),
        needed(
            "realm",
            "say whose users are accepted, as in \"EXAMPLE.COM\"",
        ),
    );
    let strip_realm = section.get("strip_realm").and_then(|item| item.boolean());
    let (keytab, strip_realm) = (Path::new(keytab?), strip_realm.unwrap_or(true));
    negotiate::Settings::new(keytab, service?, realm?, strip_realm)
        .map(|settings| Kind::Negotiate(Arc::new(settings)))
        .map_err(|why| section.note(why))
        .ok()
}

fn ldap(section: &Section<'_>, files: &Files<'_>) -> Option<Kind> {
    let transport = transport(section);
    let roots = section.get("ca").and_then(|item| {
        let text = files.read(&item)?.text;
        let mut roots = RootCertStore::empty();
        for (number, root) in (1..).zip(CertificateDer::pem_slice_iter(text.as_bytes())) {
            let added = root
                .map_err(|error| error.to_string())
                .and_then(|root| roots.add(root).map_err(|error| error.to_string()));
            if let Err(why) = added {
                item.note(format!(
                    "certificate {number} of the file is no root: {why}"
                ));
            }
        }
        if roots.is_empty() {
            item.note("no certificate in the file: expected PEM");
        }
        Some(text.into())
    });
    let timeout = within(section, "timeout", Duration::from_secs(5), TIMEOUT);
    if timeout.is_zero()
        && let Some(item) = section.get("timeout")
    {
        item.note("expected more than \"0s\"");
    }
    Some(Kind::Ldap(Arc::new(ldap::Settings {
        url: text(section, "url").unwrap_or_default().into(),
        transport,
        roots,
        bind: bind(section, files),
        user_attribute: section.value("user_attribute", "uid".into(), attribute),
        groups: groups(section),
        timeout,
        pool: usize::try_from(section.number("pool", 8, 1..257)).unwrap_or(8),
    })))
}

fn text<'t>(section: &Section<'t>, key: &str) -> Option<&'t str> {
    section.get(key).and_then(|item| item.text())
}

fn flag(section: &Section<'_>, key: &str) -> bool {
    let item = section.get(key);
    item.and_then(|item| item.boolean()).unwrap_or(false)
}

fn attribute(text: &str) -> Result<Box<str>, String> {
    // RFC 4512 section 2.5.
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';');
    if !(1..=100).contains(&text.len()) || !text.chars().all(allowed) {
        return Err("expected the name of an attribute, as in \"uid\"".into());
    }
    Ok(text.into())
}

/// How the directory is reached, which the URL has to fit.
fn transport(section: &Section<'_>) -> Transport {
    const CURE: &str = "name the directory, as in \"ldaps://ldap.corp.example\"";
    let start_tls = flag(section, "starttls");
    let plaintext = flag(section, "danger_plaintext");
    let Some(item) = section.get("url") else {
        section.missing("url", CURE);
        return Transport::Tls;
    };
    let parts = item.parse(|text| {
        let uri: http::Uri = text.parse().map_err(|_| CURE)?;
        let scheme = uri
            .scheme_str()
            .filter(|one| ["ldap", "ldaps"].contains(one));
        let scheme = scheme.ok_or("expected \"ldap://\" or \"ldaps://\", and behind it a host")?;
        let authority = uri.authority().ok_or(CURE)?;
        let bare = !authority.as_str().contains('@')
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        if authority.host().is_empty() || !bare {
            return Err(
                "expected no more than a host and perhaps a port: the rest has keys of its own"
                    .into(),
            );
        }
        Ok((scheme == "ldaps", authority.host().starts_with('[')))
    });
    let Some((is_tls, is_v6)) = parts else {
        return Transport::Tls;
    };
    let transport = match (is_tls, start_tls, plaintext) {
        (true, false, false) => Transport::Tls,
        (true, ..) => {
            item.note("is TLS from the first byte: take `starttls` and `danger_plaintext` out");
            Transport::Tls
        }
        (false, true, true) => {
            item.note("`starttls` and `danger_plaintext` contradict each other: take one out");
            Transport::StartTls
        }
        (false, true, false) => Transport::StartTls,
        (false, false, true) => Transport::Plaintext,
        (false, false, false) => {
            item.note(
                "passwords would go in the clear: write `starttls = true`, or \"ldaps://\", or \
                 `danger_plaintext = true` where nobody can listen",
            );
            Transport::Plaintext
        }
    };
    if transport != Transport::Plaintext && is_v6 {
        item.note(
            "a certificate is checked against a name: name the directory, not its IPv6 address",
        );
    }
    if transport == Transport::Plaintext
        && let Some(ca) = section.get("ca")
    {
        ca.note("nothing is judged by it without TLS: take it out");
    }
    transport
}

/// Notes the keys that another way has.
fn only(section: &Section<'_>, keys: &[&str], belongs: &str) {
    for key in keys {
        if let Some(item) = section.get(key) {
            item.note(format!("belongs to {belongs}: take it out"));
        }
    }
}

fn bind(section: &Section<'_>, files: &Files<'_>) -> Bind {
    let is_direct = section.choice("bind", false, &[("direct", true), ("search", false)]);
    if is_direct {
        only(
            section,
            &["base", "filter", "bind_dn", "bind_password_file"],
            "`bind = \"search\"`",
        );
        let example = "as in \"uid={user},ou=people,dc=corp,dc=example\"";
        if section.get("user_dn").is_none() {
            section.missing("user_dn", &format!("say the DN of users, {example}"));
        }
        let template = |text: &str| {
            one_line_of(text, 1000)?;
            if !text.contains("{user}") {
                return Err(format!("expected a DN with {{user}} in it, {example}"));
            }
            Ok(text.into())
        };
        return Bind::Direct {
            user_dn: section.value("user_dn", Box::default(), template),
        };
    }
    only(section, &["user_dn"], "`bind = \"direct\"`");
    if section.get("base").is_none() {
        let cure = "say below which entry users are, as in \"ou=people,dc=corp,dc=example\"";
        section.missing("base", cure);
    }
    let account = match (section.get("bind_dn"), section.get("bind_password_file")) {
        (None, None) => None,
        (Some(dn), Some(file)) => {
            let dn = dn.parse(|text| one_line_of(text, 1000).map(|()| text.into()));
            dn.zip(secret(&file, files))
        }
        (Some(item), None) => {
            item.note("needs a password: name its file in `bind_password_file`");
            None
        }
        (None, Some(item)) => {
            item.note("is the password of nobody: say whose in `bind_dn`");
            None
        }
    };
    Bind::Search {
        base: section.value("base", Box::default(), |text| {
            one_line_of(text, 1000).map(|()| text.into())
        }),
        filter: section.value("filter", "(uid={user})".into(), |text| {
            filter(text, &["{user}"])
        }),
        account,
    }
}

fn one_line_of(text: &str, most: usize) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.len() > most {
        return Err(format!("expected one line of at most {most} bytes"));
    }
    Ok(())
}

/// A filter that holds one of some places.
fn filter(text: &str, places: &[&str]) -> Result<Box<str>, String> {
    one_line_of(text, 1000)?;
    if !places.iter().any(|place| text.contains(place)) {
        return Err(format!("expected {} in it", places.join(" or ")));
    }
    if ldap3::parse_filter(filter_of(text, "x", "cn=x")).is_err() {
        return Err("no filter: expected one in parentheses, as in \"(uid={user})\"".into());
    }
    Ok(text.into())
}

fn groups(section: &Section<'_>) -> Groups {
    let search_keys = ["group_filter"];
    let base = section
        .get("group_base")
        .and_then(|item| item.parse(|text| one_line_of(text, 1000).map(|()| text.into())));
    let nested = flag(section, "nested");
    let member_of = flag(section, "member_of");
    let by_filter = section.value("group_filter", "(member={dn})".into(), |text| {
        filter(text, &["{dn}", "{user}"])
    });
    if section.get("group_base").is_none() {
        for item in search_keys.iter().filter_map(|key| section.get(key)) {
            item.note("looks nowhere: say below which entry in `group_base`");
        }
        if nested
            && !member_of
            && let Some(item) = section.get("nested")
        {
            item.note("there are no groups: write `group_base` or `member_of = true`");
        }
    } else if nested
        && !by_filter.contains("{dn}")
        && let Some(item) = section.get("group_filter")
    {
        item.note("finds no groups of groups: expected {dn} in it where `nested` is true");
    }
    Groups {
        search: base.map(|base| (base, by_filter)),
        member_of,
        name: section.value("group_name", "cn".into(), attribute),
        nested,
    }
}

/// The first line of a file that nobody else may read.
fn secret(item: &Item<'_>, files: &Files<'_>) -> Option<Secret> {
    let path = item.parse(|text| files.path(text))?;
    Secret::from_file(&path)
        .map_err(|why| item.note(format!("{}: {why}", path.display())))
        .ok()
}
