//! Random policies over a small world, and all flows of that world.

pub(crate) mod reading;

use std::net::IpAddr;

use proptest::prelude::*;
use sluice_policy::{
    Action, Alpn, BlockKind, Condition, Defaults, Fact, Facts, FirstBytes, Group, GroupId, Hello,
    Ja4Pattern, Listener, NotNegotiated, Outcome, PortRange, Rule, RuleBody, RuleSet,
};

const CLIENTS: [IpAddr; 2] = [ip(1), ip(2)];
const DESTINATIONS: [IpAddr; 2] = [ip(8), ip(9)];
const PORTS: [u16; 2] = [443, 8443];
const HOSTS: [Option<&str>; 4] = [
    None,
    Some("a.example"),
    Some("w.a.example"),
    Some("10.0.0.9"),
];
const REASONS: [NotNegotiated; 2] = [NotNegotiated::NotTls, NotNegotiated::Silent];

const fn ip(last: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last))
}

/// Every flow of the world, with everything known.
pub(crate) fn domain() -> Vec<Facts<'static>> {
    let mut first_bytes: Vec<_> = REASONS.map(FirstBytes::Other).to_vec();
    for host in HOSTS {
        for alpn in [Alpn::ABSENT, Alpn::from_wire(b"\x02h2")] {
            for ja4 in ["t13d", "t12d"] {
                for ech in [false, true] {
                    first_bytes.push(FirstBytes::Hello(Hello {
                        host,
                        alpn,
                        ja4,
                        ech,
                    }));
                }
            }
        }
    }
    let mut flows = Vec::new();
    for client in CLIENTS {
        for destination in DESTINATIONS {
            for port in PORTS {
                for &bytes in &first_bytes {
                    let opened = Facts::opened(client, destination, port);
                    flows.push(opened.with_first_bytes(bytes));
                }
            }
        }
    }
    flows
}

/// One flow of the world.
pub(crate) fn full(pick: usize) -> Facts<'static> {
    let flows = domain();
    flows[pick % flows.len()]
}

/// A fact's value as text, to compare flows by.
pub(crate) fn value(fact: Fact, set: &RuleSet, facts: &Facts<'_>) -> String {
    let hello = match facts.first_bytes {
        Some(FirstBytes::Hello(hello)) => Some(hello),
        _ => None,
    };
    match fact {
        Fact::Alpn => format!("{:?}", hello.map(|hello| hello.alpn)),
        Fact::Client => facts.client.to_string(),
        Fact::Destination => facts.destination.to_string(),
        Fact::Ech => format!("{:?}", hello.map(|hello| hello.ech)),
        Fact::Groups => (0..set.groups.len())
            .map(|id| reading::is_member(set, GroupId(id), facts.client).to_string())
            .collect(),
        Fact::Host => format!("{:?}", facts.host()),
        Fact::HostIsIp => format!("{:?}", facts.host_is_ip()),
        Fact::Ja4 => format!("{:?}", hello.map(|hello| hello.ja4)),
        Fact::Listener => "transparent".into(),
        Fact::Port => facts.port.to_string(),
        Fact::Tls => match facts.first_bytes {
            Some(FirstBytes::Other(reason)) => reason.name().into(),
            _ => "hello".into(),
        },
    }
}

pub(crate) fn outcome_of(action: Action) -> Option<Outcome> {
    match action {
        Action::Allow => Some(Outcome::Allow),
        Action::Block(kind) => Some(Outcome::Block(kind)),
        Action::Splice => Some(Outcome::Splice),
        Action::Skip => None,
    }
}

fn net(address: IpAddr) -> sluice_policy::Net {
    sluice_policy::Net::host(address)
}

fn conditions() -> impl Strategy<Value = Condition> {
    use prop::sample::{select, subsequence};
    let leaf = prop_oneof![
        subsequence(CLIENTS.to_vec(), 1..=2)
            .prop_map(|all| Condition::Client(all.into_iter().map(net).collect())),
        select(DESTINATIONS.to_vec()).prop_map(|one| Condition::Destination(vec![net(one)])),
        select(PORTS.to_vec()).prop_map(|one| Condition::Port(vec![PortRange::single(one)])),
        select(vec![0, 1]).prop_map(|id| Condition::Group(vec![GroupId(id)])),
        subsequence(
            vec![
                None,
                Some("a.example"),
                Some("*.a.example"),
                Some("example")
            ],
            1..=3
        )
        .prop_map(|hosts| Condition::Host(
            hosts
                .into_iter()
                .map(|host| host.map(|host| host.parse().unwrap()))
                .collect()
        )),
        any::<bool>().prop_map(Condition::HostIsIp),
        subsequence(vec![None, Some(REASONS[0]), Some(REASONS[1])], 1..=2).prop_map(Condition::Tls),
        select(vec![None, Some(b"h2".to_vec())]).prop_map(|name| Condition::Alpn(vec![name])),
        select(vec!["t1", "t13d"]).prop_map(|start| {
            Condition::Ja4(vec![
                Ja4Pattern::Prefix(start.into()),
                Ja4Pattern::Exact("x".into()),
            ])
        }),
        any::<bool>().prop_map(Condition::Ech),
        Just(Condition::Listener(Listener::Transparent)),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop::collection::vec(inner, 1..3).prop_map(Condition::Not)
    })
}

fn blocks() -> impl Strategy<Value = Action> {
    prop::sample::select(BlockKind::ALL.to_vec()).prop_map(Action::Block)
}

fn rules(depth: u32) -> BoxedStrategy<Vec<Rule>> {
    let action = prop_oneof![
        3 => Just(Action::Allow),
        3 => blocks(),
        1 => Just(Action::Splice),
        1 => Just(if depth > 0 { Action::Skip } else { Action::Allow }),
    ];
    let act = (action, any::<bool>()).prop_map(|(action, last)| {
        let overridable = matches!(action, Action::Allow | Action::Block(_));
        RuleBody::Act {
            action,
            last: last || !overridable,
            message: None,
        }
    });
    let body = if depth < 2 {
        prop_oneof![4 => act, 1 => rules(depth + 1).prop_map(RuleBody::Contain)].boxed()
    } else {
        act.boxed()
    };
    let rule = (
        prop::collection::vec(conditions(), 0..3),
        prop::collection::vec(conditions(), 0..2),
        body,
    )
        .prop_map(|(when, unless, body)| Rule {
            name: "rule".into(),
            when,
            unless,
            body,
        });
    prop::collection::vec(rule, 0..4).boxed()
}

pub(crate) fn rule_sets() -> impl Strategy<Value = RuleSet> {
    let default = || prop_oneof![Just(Action::Allow), blocks()];
    let groups = vec![
        Group {
            name: "one".into(),
            nets: vec![net(CLIENTS[0])],
            groups: vec![],
        },
        Group {
            name: "both".into(),
            nets: vec![net(CLIENTS[1])],
            groups: vec![GroupId(0)],
        },
    ];
    (default(), default(), rules(0)).prop_map(move |(identified, unidentified, rules)| RuleSet {
        defaults: Defaults {
            identified,
            unidentified,
        },
        groups: groups.clone(),
        rules,
    })
}
