//! Users and groups.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sluice_policy::{
    Group, GroupId, LineError, Net, NetError, User,
    list::{address_lines, lines},
};

use super::{
    names::{Named, Names, named, numbers, one_line},
    read::{Item, Keys, Section},
    sources::Files,
    value,
};
use crate::identity::addresses::Settings;

const USER: Keys = Keys {
    known: &["name", "addresses", "file"],
    later: &[],
};

pub(super) const IDENTITY: Keys = Keys {
    known: &[
        "files",
        "ttl",
        "limit",
        "proxy_stands_for_address",
        "realm",
        "provider",
    ],
    later: &[],
};

/// Reads what `[identity]` says of addresses that are told or learned while the daemon runs.
pub(super) fn addresses(identity: &Section<'_>) -> Settings {
    let default = Settings::default();
    let limit = identity.number("limit", default.limit as u64, 1..(1 << 20) + 1);
    Settings {
        ttl: identity.value("ttl", default.ttl, lease),
        limit: usize::try_from(limit).unwrap_or(default.limit),
        proxy_stands_for_address: identity.value(
            "proxy_stands_for_address",
            default.proxy_stands_for_address,
            value::duration,
        ),
    }
}

/// How long an address stands for somebody.
pub(crate) fn lease(text: &str) -> Result<Duration, String> {
    let time = value::duration(text)?;
    if time.is_zero() {
        return Err("expected more than \"0s\"".into());
    }
    Ok(time)
}

const GROUP: Keys = Keys {
    known: &["name", "members", "file", "files"],
    later: &[],
};

/// Reads the users of a document, and those of the files that `[identity]` names.
pub(super) fn users(top: &Section<'_>, identity: &Section<'_>, files: &Files<'_>) -> Vec<User> {
    let mut users: Vec<User> = named(top, "user", USER)
        .into_iter()
        .map(|Named { name, section }| {
            let mut nets = section.list("addresses", Vec::new, net);
            if let Some(item) = section.get("file")
                && let Some(text) = files.read(&item)
            {
                text.lines(&item, |text, errors, most| {
                    address_lines(text, &mut nets, errors, most);
                });
            }
            User { name, nets }
        })
        .collect();
    let mut places: HashMap<String, usize> = users
        .iter()
        .enumerate()
        .map(|(place, user)| (user.name.clone(), place))
        .collect();
    for item in identity.items_of("files") {
        let Some(text) = files.read(&item) else {
            continue;
        };
        text.lines(&item, |text, errors, most| {
            each_line(text, errors, most, |line| {
                let (net, name) = identity_line(line)?;
                let place = match places.get(name) {
                    Some(&place) => place,
                    None => {
                        places.insert(name.to_owned(), users.len());
                        users.push(User {
                            name: name.to_owned(),
                            nets: Vec::new(),
                        });
                        users.len() - 1
                    }
                };
                if let Some(user) = users.get_mut(place) {
                    user.nets.push(net);
                }
                Ok(())
            });
        });
    }
    users
}

fn net(text: &str) -> Result<Net, String> {
    text.parse().map_err(|error: NetError| error.to_string())
}

/// An address or a CIDR, and behind it the user.
fn identity_line(line: &str) -> Result<(Net, &str), String> {
    let Some((net, name)) = line.split_once(|c: char| c.is_ascii_whitespace()) else {
        return Err(format!(
            "\"{line}\": expected an address or a CIDR, and behind it the name of a user"
        ));
    };
    let net = match net.parse() {
        // As in a list of addresses.
        Ok(parsed) | Err(NetError::HostBits { network: parsed }) => parsed,
        Err(error) => return Err(format!("\"{net}\": {error}")),
    };
    let name = name.trim();
    one_line(name).map_err(|error| format!("the name of the user: {error}"))?;
    Ok((net, name))
}

/// Reads each line that says something; what `read` answers is noted, up to `most` mistakes.
fn each_line(
    text: &str,
    errors: &mut Vec<LineError>,
    most: usize,
    mut read: impl FnMut(&str) -> Result<(), String>,
) {
    for (line, content) in lines(text) {
        if let Err(message) = read(content)
            && errors.len() < most
        {
            errors.push(LineError { line, message });
        }
    }
}

/// Reads the groups of a document.
pub(super) fn groups(top: &Section<'_>, files: &Files<'_>, names: &mut Names) -> Vec<Group> {
    let sections = named(top, "group", GROUP);
    names.groups = numbers(&sections, GroupId);
    let groups: Vec<_> = sections
        .iter()
        .map(|Named { name, section }| {
            let mut group = Group {
                name: name.clone(),
                ..Group::default()
            };
            if let Some(members) = section.get("members") {
                for member in members.texts(|text| member(text, names)) {
                    member.join(&mut group);
                }
            }
            for item in sources(section) {
                let Some(text) = files.read(&item) else {
                    continue;
                };
                text.lines(&item, |text, errors, most| {
                    each_line(text, errors, most, |line| {
                        member(line, names)
                            .map(|member| member.join(&mut group))
                            .map_err(|error| format!("\"{line}\": {error}"))
                    });
                });
            }
            group
        })
        .collect();
    for (start, Named { section, .. }) in sections.iter().enumerate() {
        let members = section.get("members");
        if is_circular(&groups, start)
            && let Some(item) = members.or_else(|| sources(section).into_iter().next())
        {
            item.note("the group is a member of itself: take one of the \"group:\" members out");
        }
    }
    groups
}

fn sources<'t>(section: &Section<'t>) -> Vec<Item<'t>> {
    let mut items: Vec<_> = section.get("file").into_iter().collect();
    items.extend(section.items_of("files"));
    items
}

enum Member {
    Group(GroupId),
    Net(Net),
    User(String),
}

impl Member {
    fn join(self, group: &mut Group) {
        match self {
            Self::Group(id) => group.groups.push(id),
            Self::Net(net) => group.nets.push(net),
            Self::User(name) => group.users.push(name),
        }
    }
}

fn member(text: &str, names: &Names) -> Result<Member, String> {
    if let Some(name) = text.strip_prefix("group:") {
        return names.group(name).map(Member::Group);
    }
    match text.parse() {
        Ok(net) => Ok(Member::Net(net)),
        // Whoever authenticates may be called anything.
        Err(NetError::NotANet) if !looks_like_address(text) => user(text).map(Member::User),
        Err(error) => Err(error.to_string()),
    }
}

/// The name of a user.
pub(crate) fn user(text: &str) -> Result<String, String> {
    one_line(text).map(|()| text.to_owned())
}

fn looks_like_address(text: &str) -> bool {
    let address = text.split(['/', '%']).next().unwrap_or_default();
    let digits = |more: &[char]| {
        let allowed = |c: char| c.is_ascii_hexdigit() || more.contains(&c);
        !address.is_empty() && address.chars().all(allowed)
    };
    let begins = address.starts_with(|c: char| c.is_ascii_digit());
    let is_number = address.chars().all(|c| c.is_ascii_digit());
    (begins && address.contains('.') && digits(&['.']))
        || (address.contains(':') && digits(&[':', '.']))
        || (begins && is_number && text.contains('/'))
}

fn is_circular(groups: &[Group], start: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        for &GroupId(inner) in groups
            .get(at)
            .map(|group| group.groups.as_slice())
            .unwrap_or(&[])
        {
            if inner == start {
                return true;
            }
            if seen.insert(inner) {
                open.push(inner);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_users() {
        for text in [
            "10.0.0",
            "10.0.0.1/33",
            "10.0.0.0/8/9",
            "10/8",
            "2001:db8::1::",
            "fe80::1%lan0",
            "1.2",
        ] {
            assert!(looks_like_address(text), "{text}");
        }
        for text in [
            "alice",
            "1234",
            "a.b",
            "alice@corp.example",
            "CORP\\alice",
            "host/a.example",
            "9lives.z",
        ] {
            assert!(!looks_like_address(text), "{text}");
        }
    }
}
