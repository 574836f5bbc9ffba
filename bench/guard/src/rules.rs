//! Rules to decide by, of any number and size, and a mix of flows to ask them about.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use anyhow::Result;
use sluice_policy::{
    Action, AddressItem, Alpn, BlockKind, Condition, DefaultAction, Defaults, DomainList,
    DomainListBuilder, Facts, Group, GroupId, HostItem, HostPattern, List, ListData, ListId,
    Listener, Net, NotNegotiated, PortRange, Request, Rule, RuleBody, RuleSet, Stage, Tls,
    TlsStates, TlsVersion, TlsVersions, User,
};

/// The recipe: what is not TLS is for members of a group alone.
///
/// # Errors
///
/// None in practice: a network that is none.
pub fn recipe() -> Result<RuleSet> {
    let not_negotiated = || Condition::Tls(TlsStates::not_negotiated());
    let members = || Condition::Group(vec![Some(GroupId(0))]);
    Ok(RuleSet {
        defaults: open(),
        groups: vec![Group {
            name: "Allow Skype".to_owned(),
            nets: vec!["10.20.4.0/24".parse()?, "2001:db8:4::/64".parse()?],
            users: vec!["alice".to_owned()],
            groups: Vec::new(),
        }],
        users: vec![User {
            name: "alice".to_owned(),
            nets: vec!["10.20.7.14".parse()?],
        }],
        rules: vec![
            rule(
                "except for members",
                vec![not_negotiated()],
                vec![members()],
                Action::Block(BlockKind::Page),
            ),
            rule(
                "members, not TLS",
                vec![not_negotiated(), members()],
                Vec::new(),
                Action::Allow,
            ),
            rule(
                "members, no name",
                vec![Condition::HostIsIp(true), members()],
                Vec::new(),
                Action::Allow,
            ),
        ],
        ..RuleSet::default()
    })
}

const fn open() -> Defaults {
    Defaults {
        identified: DefaultAction::Allow,
        unidentified: DefaultAction::Block(BlockKind::Alert),
    }
}

/// How many lists the names and networks of a large policy are divided into.
const LISTS: usize = 100;

/// A name that lists hold; each number has another.
#[must_use]
pub fn listed(at: usize) -> String {
    format!("w{:x}.domain{at}.example", at.wrapping_mul(0x9e37) & 0xfff)
}

/// A network of clients that the lists of a large policy hold; every fourth is of IPv6.
fn network(at: usize) -> Net {
    let spread = u32::try_from(at).unwrap_or(0).wrapping_mul(0x9e37_79b1);
    let address = if at % 4 == 3 {
        let bits = 0x2001_0db8_u128 << 96 | u128::from(spread) << 64;
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | spread >> 8 & 0xff_fff0))
    };
    let bits = if at % 4 == 3 { 64 } else { 28 };
    Net::new(address, bits).unwrap_or_else(|_| Net::host(address))
}

/// A list of so many names.
///
/// # Errors
///
/// None in practice: a name that is none.
pub fn domains(names: impl IntoIterator<Item = usize>) -> Result<DomainList> {
    let mut builder = DomainListBuilder::default();
    for at in names {
        builder.add(&listed(at))?;
    }
    Ok(builder.finish())
}

/// One rule that blocks so many names and the names below them, and lets through all others that are
/// known.
///
/// # Errors
///
/// None in practice: a name that is none.
pub fn one_list(names: usize) -> Result<RuleSet> {
    let mut builder = DomainListBuilder::default();
    for at in 0..names {
        builder.add(&format!(".{}", listed(at)))?;
    }
    Ok(RuleSet {
        defaults: open(),
        lists: vec![List {
            name: "domains".to_owned(),
            data: ListData::Domains(Arc::new(builder.finish())),
        }],
        rules: vec![rule(
            "listed",
            vec![Condition::Host(vec![Some(HostItem::List(ListId(0)))])],
            Vec::new(),
            Action::Block(BlockKind::Alert),
        )],
        ..RuleSet::default()
    })
}

/// A policy of so many rules over lists of so many names and networks.
///
/// # Errors
///
/// None in practice: a name or a network that is none.
pub fn large(rules: usize, names: usize, nets: usize) -> Result<RuleSet> {
    let mut set = recipe()?;
    let share = |total: usize, list: usize| (0..total).skip(list).step_by(LISTS);
    for list in 0..LISTS {
        set.lists.push(List {
            name: format!("domains {list}"),
            data: ListData::Domains(Arc::new(domains(share(names, list))?)),
        });
    }
    for list in 0..LISTS {
        set.lists.push(List {
            name: format!("networks {list}"),
            data: ListData::Addresses(share(nets, list).map(network).collect()),
        });
    }
    for at in set.rules.len()..rules {
        let names = || Condition::Host(vec![Some(HostItem::List(ListId(at * 7 % LISTS)))]);
        let clients =
            || Condition::Client(vec![AddressItem::List(ListId(LISTS + at * 13 % LISTS))]);
        let (when, action) = match at % 5 {
            0 => (vec![names(), clients()], Action::Block(BlockKind::Alert)),
            1 => {
                let name: HostPattern = format!("*.site{at}.example").parse()?;
                let host = Condition::Host(vec![Some(HostItem::Pattern(name))]);
                (vec![host], Action::Block(BlockKind::Reset))
            }
            2 => {
                let bits = 0xc633_6400 | u32::try_from(at)? << 4;
                let net = Net::host(Ipv4Addr::from_bits(bits).into());
                let port = Condition::Port(vec![PortRange::single(443)]);
                (
                    vec![Condition::Destination(vec![AddressItem::Net(net)]), port],
                    Action::Splice,
                )
            }
            3 => {
                let user = Condition::User(vec![Some(format!("user{}", at % 1000))]);
                (vec![user, names()], Action::Block(BlockKind::Page))
            }
            _ => {
                let path = sluice_policy::TextPattern::Prefix(format!("/{at}/").into());
                (
                    vec![names(), clients(), Condition::Path(vec![path])],
                    Action::Block(BlockKind::Page),
                )
            }
        };
        set.rules
            .push(rule(&format!("rule {at}"), when, Vec::new(), action));
    }
    Ok(set)
}

fn rule(name: &str, when: Vec<Condition>, unless: Vec<Condition>, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        when,
        unless,
        tags: Vec::new(),
        body: RuleBody::Act {
            action,
            last: true,
            message: None,
        },
    }
}

/// Flows of every stage with as many different names, half of them in no list.
#[derive(Debug)]
pub struct Mix {
    flows: Vec<Owned>,
}

#[derive(Debug)]
struct Owned {
    stage: Stage,
    client: IpAddr,
    destination: IpAddr,
    host: String,
    url: String,
    user: Option<String>,
    tls: Tls,
}

impl Mix {
    /// So many flows, for a policy whose lists hold so many names and networks.
    #[must_use]
    pub fn new(flows: usize, names: usize, nets: usize) -> Self {
        // A fixed sequence (Knuth's MMIX constants), so that every run asks the same.
        let mut state = 0x5eed_u64;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
        };
        let flows = (0..flows).map(|at| {
            let host = if at % 2 == 0 && names > 0 {
                listed(next(names))
            } else {
                format!("www.miss{at}.example")
            };
            let tls = match next(16) {
                0 => Tls::Not(NotNegotiated::Sslv2Hello),
                1 => Tls::Not(NotNegotiated::NoCommonCipher),
                _ => Tls::Negotiated,
            };
            let client = if next(2) == 0 || nets == 0 {
                IpAddr::V4(Ipv4Addr::from_bits(
                    0x0a14_0000 | u32::try_from(next(1 << 16)).unwrap_or(0),
                ))
            } else {
                network(next(nets)).address()
            };
            Owned {
                stage: Stage::ALL.get(next(6)).copied().unwrap_or(Stage::Hello),
                client,
                destination: Ipv4Addr::from_bits(
                    0xcb00_7100 | u32::try_from(next(256)).unwrap_or(0),
                )
                .into(),
                url: format!("https://{host}/{}/x", next(10_000)),
                host,
                user: (next(4) == 0).then(|| format!("user{}", next(1000))),
                tls,
            }
        });
        Self {
            flows: flows.collect(),
        }
    }

    /// The flows, as a policy is asked about them.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts<'_>> {
        self.flows.iter().map(Owned::facts).collect()
    }

    /// The names.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.flows.iter().map(|flow| flow.host.as_str())
    }
}

impl Owned {
    fn facts(&self) -> Facts<'_> {
        let mut facts = hello(&self.host);
        facts.stage = self.stage;
        facts.client = Some(self.client);
        facts.destination = Some(self.destination);
        facts.user = self.user.as_deref();
        facts.tls = Some(self.tls);
        facts.request = Request {
            url: Some(&self.url),
            method: Some("GET"),
            ..Request::NONE
        };
        facts
    }
}

/// A flow of a client outside the group, before its first bytes are known.
#[must_use]
pub fn opened() -> Facts<'static> {
    let client: IpAddr = Ipv4Addr::new(10, 20, 7, 15).into();
    let mut facts = Facts::packet(client, Ipv4Addr::new(203, 0, 113, 5).into(), 443);
    facts.stage = Stage::Open;
    facts.listener = Some(Listener::Transparent);
    facts.time = Some(1_772_445_600);
    facts
}

/// The same flow with a hello for a name.
#[must_use]
pub fn hello(host: &str) -> Facts<'_> {
    Facts {
        stage: Stage::Hello,
        tls: Some(Tls::Hello),
        host: Some(host),
        tls_versions: TlsVersions::of([TlsVersion::Tls12, TlsVersion::Tls13]),
        alpn: Alpn::from_wire(b"\x02h2\x08http/1.1"),
        ja4: Some("t13d1516h2_8daaf6152771_d8a2da3f94cd"),
        ech: Some(false),
        ..opened()
    }
}

/// The same flow where the origin has answered.
#[must_use]
pub fn answered(host: &str) -> Facts<'_> {
    Facts {
        stage: Stage::ServerHello,
        tls: Some(Tls::Negotiated),
        tls_version_chosen: Some(TlsVersion::Tls13),
        ..hello(host)
    }
}

/// The same flow with first bytes that are not TLS.
#[must_use]
pub fn not_tls() -> Facts<'static> {
    Facts {
        stage: Stage::Hello,
        tls: Some(Tls::Not(NotNegotiated::Sslv2Hello)),
        application: Some("skype"),
        ..opened()
    }
}
