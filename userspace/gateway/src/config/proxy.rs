//! The sections `[[proxy]]`, and the rules that they stand for.

use std::{collections::BTreeSet, net::SocketAddr};

use sluice_policy::{
    Action, BlockKind, Condition, List, ListenerPattern, Net, PortRange, Rule, RuleBody,
};

use super::{
    ListenerTls,
    listener_tls::listener_tls,
    names::{Names, one_line},
    pac,
    read::{Item, Keys, Section},
    sections::{net, ports},
    sources::Files,
};
use crate::identity::settings::Provider;
use crate::pac::Pac;

/// The name of a listener that is given none.
const NAME: &str = "proxy";

/// One explicit proxy: what its clients are told to use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxy {
    /// What rules, records and metrics call it.
    pub name: Box<str>,
    /// Where it listens; at least one address.
    pub listen: Vec<SocketAddr>,
    /// How TLS is spoken with its clients; `None`: it is not.
    pub tls: Option<ListenerTls>,
    /// What tells who a client is, the first first: names of identity providers, "address" and
    /// "certificate".
    pub identify: Vec<Box<str>>,
    /// Who has to show who it is.
    pub identity: Demand,
    /// Whether software that does not say what it is may tunnel.
    pub unidentified_tunnels: bool,
    /// The ports that may be tunnelled to.
    pub connect_ports: Vec<PortRange>,
    /// Whether a CONNECT may name an address.
    pub connect_addresses: bool,
    /// What origins are told of the client's address.
    pub forwarded_for: ForwardedFor,
    /// Whether Via says that a message came through here.
    pub via: bool,
    /// Load balancers, whose connections begin with a header of the PROXY protocol.
    pub balancers: Vec<Net>,
    /// What clients are told to go to directly; `None`: they are told nothing.
    pub pac: Option<Pac>,
}

impl Proxy {
    /// The names of the identity providers among what tells who a client is.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        let names = self.identify.iter().map(|name| &**name);
        names.filter(|name| !WORDS.contains(name))
    }

    /// Whether the address of a client tells who it is, and when.
    #[must_use]
    pub fn by_address(&self) -> Option<ByAddress> {
        let mut before = self.identify.iter().map(|name| &**name);
        let place = before.position(|name| name == ADDRESS)?;
        let mut first = self.identify.iter().take(place).map(|name| &**name);
        Some(if first.all(|name| WORDS.contains(&name)) {
            ByAddress::First
        } else {
            ByAddress::Last
        })
    }
}

/// When the address of a client tells who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ByAddress {
    /// Whatever credentials the client shows.
    First,
    /// Where it shows none.
    Last,
}

/// The word for whom an address stands for, among the names of providers.
const ADDRESS: &str = "address";

/// The word for the certificate that a client shows, among the names of providers.
const CERTIFICATE: &str = "certificate";

/// What no provider may be called.
pub(super) const WORDS: [&str; 2] = [ADDRESS, CERTIFICATE];

/// Who has to show who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// Nobody is asked.
    Nobody,
    /// Everybody.
    Required,
    /// Whoever asks for something that the rules cannot decide without.
    WhenNeeded,
}

impl Demand {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Required => "required",
            Self::WhenNeeded => "when-needed",
        }
    }
}

/// What becomes of X-Forwarded-For.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedFor {
    /// It is left as the client says it.
    Off,
    /// It names the client's address alone.
    Set,
    /// The client's address is put behind what the client says.
    Append,
}

impl ForwardedFor {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Set => "set",
            Self::Append => "append",
        }
    }
}

const PROXY: Keys = Keys {
    known: &[
        "name",
        "listen",
        "tls",
        "identify",
        "identity",
        "unidentified_tunnels",
        "connect_ports",
        "connect_addresses",
        "forwarded_for",
        "via",
        "balancers",
        "pac",
    ],
    later: &[],
};

/// Reads the listeners of a document.
///
/// What their clients go to directly may name lists, and is read by [`pacs`] when those are there.
pub(super) fn proxies<'t>(
    top: &Section<'t>,
    providers: &[Provider],
    files: &Files<'_>,
) -> Vec<(Proxy, Option<Item<'t>>)> {
    let sections = top
        .get("proxy")
        .map(|item| item.sections("[[proxy]]", PROXY))
        .unwrap_or_default();
    let several = sections.len() > 1;
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::new();
    for section in &sections {
        let Some(proxy) = proxy(section, several, (providers, files)) else {
            continue;
        };
        if !names.insert(proxy.name.clone()) {
            let message = format!("there are two proxies \"{}\": rename one", proxy.name);
            note(section, "name", &message);
        }
        for address in &proxy.listen {
            if !addresses.insert(*address) {
                note(
                    section,
                    "listen",
                    &format!("{address} is listened on twice"),
                );
            }
        }
        found.push((proxy, section.get("pac")));
    }
    found
}

/// Reads what the clients of the listeners go to directly.
pub(super) fn pacs(
    proxies: Vec<(Proxy, Option<Item<'_>>)>,
    names: &Names,
    lists: &[List],
) -> Vec<Proxy> {
    proxies
        .into_iter()
        .map(|(proxy, item)| Proxy {
            pac: item.and_then(|item| pac::pac(&item, names, lists)),
            ..proxy
        })
        .collect()
}

fn note(section: &Section<'_>, key: &str, message: &str) {
    match section.get(key) {
        Some(item) => item.note(message),
        None => section.note(message),
    }
}

fn proxy(
    section: &Section<'_>,
    several: bool,
    (providers, files): (&[Provider], &Files<'_>),
) -> Option<Proxy> {
    let words = [("block", false), ("allow", true)];
    let name = section.value("name", NAME.to_owned(), |text| {
        one_line(text)?;
        match text {
            "transparent" => Err("rules call the steered flows so: choose another".into()),
            NAME if several => {
                Err("rules call every proxy so: choose another where there are several".into())
            }
            _ => Ok(text.to_owned()),
        }
    });
    if several && section.get("name").is_none() {
        section.missing("name", "give each a name where there are several");
    }
    let listen = section.list("listen", Vec::new, address);
    if section.get("listen").is_none() {
        section.missing(
            "listen",
            "write addresses with ports, as in [\"10.20.0.1:3128\"]",
        );
    } else if listen.is_empty()
        && let Some(item) = section.get("listen").filter(|item| item.each().is_empty())
    {
        item.note("expected at least one address with a port, as in [\"10.20.0.1:3128\"]");
    }
    let tls = section.get("tls").and_then(|item| {
        let examples = ["proxy.pem", "proxy.key"];
        listener_tls(&item, "`tls` in [[proxy]]", examples, files)
    });
    let identify = section.list("identify", Vec::new, |text| {
        one_line(text).map(|()| text.into())
    });
    let certificates = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    check_words(section, certificates, providers);
    let can_ask = !identify.is_empty() || certificates;
    let demands = [Demand::Required, Demand::WhenNeeded].map(|demand| (demand.name(), demand));
    let identity = match section.get("identity") {
        Some(item) => {
            let demand = item.choice(&demands);
            if !can_ask {
                item.note(
                    "nobody can be asked: name providers in `identify`, or `client_ca` in `tls`",
                );
            }
            demand.unwrap_or(Demand::Required)
        }
        None if can_ask => Demand::Required,
        None => Demand::Nobody,
    };
    let forwarded_for =
        [ForwardedFor::Off, ForwardedFor::Set, ForwardedFor::Append].map(|how| (how.name(), how));
    let via = section.get("via").and_then(|item| item.boolean());
    let https = || vec![PortRange::single(443)];
    Some(Proxy {
        name: name.into(),
        listen,
        tls,
        identify,
        identity,
        unidentified_tunnels: section.choice("unidentified_tunnels", false, &words),
        connect_ports: section.list("connect_ports", https, ports),
        connect_addresses: section.choice("connect_addresses", false, &words),
        forwarded_for: section.choice("forwarded_for", ForwardedFor::Off, &forwarded_for),
        via: via.unwrap_or(true),
        balancers: section.list("balancers", Vec::new, net),
        pac: None,
    })
}

/// Notes what of `identify` is neither a provider nor a word that holds here.
fn check_words(section: &Section<'_>, certificates: bool, providers: &[Provider]) {
    for (place, item) in section.items_of("identify").into_iter().enumerate() {
        match item.text() {
            None | Some(ADDRESS) => {}
            Some(CERTIFICATE) if !certificates => {
                item.note(
                    "clients are asked for none: name who issues them as `client_ca` in `tls`",
                );
            }
            Some(CERTIFICATE) if place > 0 => {
                item.note("goes before everything else: write it first");
            }
            Some(CERTIFICATE) => {}
            Some(name) if providers.iter().any(|one| *one.name == *name) => {}
            Some(_) => item.note("there is no [[identity.provider]] of that name"),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(
        |_| "expected an address with a port such as \"10.20.0.1:3128\" or \"[2001:db8::1]:3128\"",
    )?;
    if address.port() == 0 {
        return Err("expected a port that clients can be told, such as 3128".into());
    }
    Ok(address)
}

/// What the keys of the listeners say, as rules that stand before those of the file.
pub(super) fn rules<'p>(proxies: impl Iterator<Item = &'p Proxy>) -> Vec<Rule> {
    proxies.flat_map(rules_of).collect()
}

fn rules_of(proxy: &Proxy) -> Vec<Rule> {
    let mut found = Vec::new();
    let mut block = |what: &str, condition| {
        let listener = ListenerPattern::Named(proxy.name.to_string());
        found.push(Rule {
            name: format!("{what} ({})", proxy.name),
            when: vec![Condition::Listener(vec![listener]), condition],
            unless: Vec::new(),
            tags: Vec::new(),
            body: RuleBody::Act {
                action: Action::Block(BlockKind::Page),
                last: true,
                message: None,
            },
        });
    };
    let others = others(&proxy.connect_ports);
    if !others.is_empty() {
        block(
            "tunnels to other ports than connect_ports",
            Condition::ConnectPort(others),
        );
    }
    if !proxy.connect_addresses {
        block("tunnels to addresses", Condition::ConnectHostIsIp(true));
    }
    if !proxy.unidentified_tunnels {
        block(
            "unidentified software may not tunnel",
            Condition::ConnectUserAgent(vec![None]),
        );
    }
    found
}

/// The ports that are in none of the ranges.
fn others(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable();
    let mut found = Vec::new();
    let mut next = 1_u32;
    let mut close = |from: u32, to: u32| {
        let range = u16::try_from(from).ok().zip(u16::try_from(to).ok());
        found.extend(range.and_then(|(from, to)| PortRange::new(from, to).ok()));
    };
    for range in ranges {
        close(next, u32::from(range.first()).saturating_sub(1));
        next = next.max(u32::from(range.last()) + 1);
    }
    close(next, u16::MAX.into());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_ports_are_all_but_those() {
        let others = |texts: &[&str]| -> Vec<String> {
            let ranges: Vec<PortRange> = texts.iter().map(|text| text.parse().unwrap()).collect();
            others(&ranges).iter().map(PortRange::to_string).collect()
        };
        assert_eq!(others(&["443"]), ["1-442", "444-65535"]);
        assert_eq!(
            others(&["8000-9000", "1-80", "70-90"]),
            ["91-7999", "9001-65535"]
        );
        assert!(others(&["1-65535"]).is_empty());
        assert_eq!(others(&[]), ["1-65535"]);
        assert_eq!(others(&["65535"]), ["1-65534"]);
    }
}
