//! Steered flows that the rules refuse by addresses and port alone.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use sluice_abi::{
    Entry, Reason, Verdict,
    table::{Direction, MAX_CLASSES},
};
use sluice_policy::{
    Action, AddressItem, BlockKind, Cause, Condition, Decision, DefaultAction, Defaults, Facts,
    List, ListData, ListId, Net, Outcome, Policy, PortRange, Rule, RuleBody, RuleId, RuleSet,
    Scratch, TlsStates,
    kernel::{KernelPolicy, Overflow, Refused, Rules, Side, compile, judge},
};

use crate::{addresses, directions, egresses, look_up, nets, ranges, recipe, settings, tls};

fn rule(name: &str, when: Vec<Condition>, unless: Vec<Condition>, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        when,
        unless,
        tags: vec![],
        body: RuleBody::Act {
            action,
            last: true,
            message: None,
        },
    }
}

fn reset() -> Action {
    Action::Block(BlockKind::Reset)
}

fn items() -> impl Strategy<Value = Vec<AddressItem>> {
    let item = prop_oneof![
        4 => nets().prop_map(AddressItem::Net),
        1 => (0usize..2).prop_map(|list| AddressItem::List(ListId(list))),
    ];
    prop::collection::vec(item, 1..3)
}

/// Mostly about packets; one that only a hello answers is among them.
fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let plain = prop_oneof![
        3 => items().prop_map(Condition::Client),
        3 => items().prop_map(Condition::Destination),
        2 => ranges().prop_map(|ranges| Condition::Port([ranges, vec![PortRange::single(443)]].concat())),
        1 => Just(Condition::Tls(TlsStates::NEGOTIATED)),
        1 => Just(Condition::User(vec![Some("alice".into())])),
    ];
    let condition = prop_oneof![
        4 => plain.clone(),
        1 => prop::collection::vec(plain, 1..3).prop_map(Condition::Not),
    ];
    prop::collection::vec(condition, 0..3)
}

fn rule_bodies() -> impl Strategy<Value = RuleBody> {
    let act = (
        prop_oneof![
            3 => Just(reset()),
            1 => Just(Action::Allow),
            1 => Just(Action::Splice),
            1 => Just(Action::Inspect),
            1 => Just(Action::Block(BlockKind::Page)),
            1 => Just(Action::Tag("seen".into())),
        ],
        prop::bool::weighted(0.8),
    );
    act.prop_map(|(action, last)| RuleBody::Act {
        action,
        last,
        message: None,
    })
}

prop_compose! {
    fn rule_sets()(
        rules in prop::collection::vec(
            (conditions(), conditions(), rule_bodies(), prop::bool::weighted(0.2)),
            1..5,
        ),
        default in prop::sample::select(vec![
            DefaultAction::Allow,
            DefaultAction::Block(BlockKind::Alert),
            DefaultAction::Block(BlockKind::Reset),
        ]),
        lists in prop::collection::vec(prop::collection::vec(nets(), 0..4), 2),
    ) -> RuleSet {
        let rules = rules.into_iter().map(|(when, unless, body, contained)| {
            if contained {
                let inner = Rule { name: "inner".into(), when: vec![], unless, tags: vec![], body };
                let body = RuleBody::Contain(vec![inner]);
                Rule { name: "outer".into(), when, unless: vec![], tags: vec![], body }
            } else {
                Rule { name: "rule".into(), when, unless, tags: vec![], body }
            }
        });
        RuleSet {
            defaults: Defaults { identified: default, unidentified: default },
            lists: lists.into_iter().map(|nets| List {
                name: "list".into(),
                data: ListData::Addresses(nets.into()),
            }).collect(),
            rules: rules.collect(),
            ..RuleSet::default()
        }
    }
}

/// What the daemon would do with a packet that it is given.
fn is_reset_by_daemon(policy: &Policy, client: IpAddr, remote: IpAddr, port: u16) -> bool {
    let facts = Facts::packet(client, remote, port);
    let decision = policy.decide(&facts, &mut Scratch::default());
    matches!(decision, Decision::Decided(decided)
        if decided.outcome == Outcome::Block(BlockKind::Reset))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_refuses_what_the_daemon_would_reset_and_steers_the_rest(
        set in rule_sets(),
        egress in egresses(),
        steered in ranges(),
        packets in prop::collection::vec(
            (directions(), addresses(), addresses(), prop_oneof![0u16..1000, Just(443)]),
            200,
        ),
    ) {
        let policy = Policy::compile(&set).unwrap();
        let mut steer = tls();
        steer.http = steered;
        let rules = Rules { set: &set, policy: &policy };
        let Ok(kernel) = compile(&egress, &steer, Some(rules), &settings()) else {
            return Ok(());
        };
        for (direction, client, remote, port) in packets {
            let found = look_up(&kernel, direction, client, remote, 6, port);
            if matches!(kernel.refused, Refused::ByDaemon(_)) {
                prop_assert_ne!(found, Entry::new(Verdict::Reject, Reason::PolicyRule));
                continue;
            }
            let expected = judge(&egress, &steer, Some(&policy), direction, client, remote, 6, port);
            prop_assert_eq!(found, expected, "{:?} {} {} {}", direction, client, remote, port);
            // Where no egress rule comes before, a steered port is the policy's.
            let plain = judge(&egress, &steer, None, direction, client, remote, 6, port);
            if plain == Entry::new(Verdict::Steer, Reason::Steered) {
                let refused = found == Entry::new(Verdict::Reject, Reason::PolicyRule);
                prop_assert_eq!(refused, is_reset_by_daemon(&policy, client, remote, port));
            }
        }
    }
}

fn compiled(set: &RuleSet) -> KernelPolicy {
    let policy = Policy::compile(set).unwrap();
    let rules = Rules {
        set,
        policy: &policy,
    };
    compile(&recipe(), &tls(), Some(rules), &settings()).unwrap()
}

fn steered_to(kernel: &KernelPolicy, remote: &str) -> Entry {
    let (client, remote) = ("10.1.2.3".parse().unwrap(), remote.parse().unwrap());
    look_up(kernel, Direction::Out, client, remote, 6, 443)
}

#[test]
fn a_block_list_is_one_class_and_one_table_more() {
    let nets = (0..20_000u32)
        .map(|n| Net::new(Ipv4Addr::from(0x0b00_0000 + (n << 8)).into(), 24).unwrap());
    let list = List {
        name: "bad".into(),
        data: ListData::Addresses(nets.collect()),
    };
    let bad = Condition::Destination(vec![AddressItem::List(ListId(0))]);
    let set = RuleSet {
        lists: vec![list],
        rules: vec![
            rule("bad", vec![bad], vec![], reset()),
            rule("rest", vec![], vec![], Action::Allow),
        ],
        ..RuleSet::default()
    };
    let kernel = compiled(&set);
    assert_eq!(kernel.refused, Refused::InKernel);
    assert_eq!(kernel.remotes.len(), 20_000);
    assert!(kernel.clients.is_empty());
    assert_eq!(kernel.tables.len(), 3);
    let refused = Entry::new(Verdict::Reject, Reason::PolicyRule);
    assert_eq!(steered_to(&kernel, "11.0.5.9"), refused);
    assert_eq!(
        steered_to(&kernel, "10.255.0.1"),
        Entry::new(Verdict::Steer, Reason::Steered)
    );
}

#[test]
fn what_needs_more_than_a_packet_is_left_to_the_daemon() {
    let to = |net: &str| Condition::Destination(vec![AddressItem::Net(net.parse().unwrap())]);
    let steered = Entry::new(Verdict::Steer, Reason::Steered);
    let undecided = [
        // A hello, an answer or the clock may still let it through.
        rule(
            "tls",
            vec![to("192.0.2.0/24"), Condition::Tls(TlsStates::NEGOTIATED)],
            vec![],
            reset(),
        ),
        rule(
            "member",
            vec![to("192.0.2.0/24")],
            vec![Condition::User(vec![Some("alice".into())])],
            reset(),
        ),
        // A client that is owed a page has to say something first.
        rule(
            "page",
            vec![to("192.0.2.0/24")],
            vec![],
            Action::Block(BlockKind::Page),
        ),
    ];
    for undecided in undecided {
        let name = undecided.name.clone();
        let set = RuleSet {
            rules: vec![undecided],
            ..RuleSet::default()
        };
        let kernel = compiled(&set);
        assert_eq!(kernel.refused, Refused::Nothing, "{name}");
        assert_eq!(steered_to(&kernel, "192.0.2.1"), steered, "{name}");
        assert!(kernel.remotes.is_empty(), "{name}");
    }
}

#[test]
fn the_daemon_resets_what_does_not_fit_the_kernel() {
    // Every pair of a client and a partner differs from every other one.
    let rules = (0..70u8).map(|number| {
        let net = |third| Net::new([10, third, number, 0].into(), 24).unwrap();
        let from = Condition::Client(vec![AddressItem::Net(net(0))]);
        let to = Condition::Destination(vec![AddressItem::Net(net(1))]);
        rule(&format!("pair {number}"), vec![from, to], vec![], reset())
    });
    let set = RuleSet {
        rules: rules.collect(),
        ..RuleSet::default()
    };
    let kernel = compiled(&set);
    let overflow = Overflow::Classes {
        side: Side::Client,
        found: 71,
        most: MAX_CLASSES as usize,
    };
    assert_eq!(kernel.refused, Refused::ByDaemon(overflow));
    assert_eq!(
        overflow.to_string(),
        "71 classes of client addresses, and the kernel holds 64"
    );
    assert!(kernel.clients.is_empty() && kernel.remotes.is_empty());
    let policy = Policy::compile(&set).unwrap();
    let facts = Facts::packet([10, 0, 69, 1].into(), [10, 1, 69, 1].into(), 443);
    let Decision::Decided(decided) = policy.decide(&facts, &mut Scratch::default()) else {
        panic!("a packet decides");
    };
    assert_eq!(decided.cause, Cause::Rule(RuleId(69)));
}
