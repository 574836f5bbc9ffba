//! Steered flows that the policy refuses by their addresses and port alone: the kernel and the
//! daemon cannot disagree about them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sluice_abi::Reason;
use sluice_policy::{
    Action, AddressItem, BlockKind, Condition, Decision, Facts, Net, Outcome, Policy, PortRange,
    Rule, RuleBody, RuleSet, Scratch,
};
use sluice_tests::{
    family::Family,
    packet::{Tcp, flag},
};

use crate::{
    bench::{Bench, STEER, both, reject},
    packet::random::Dice,
    world::{World, member, origin, other},
};

const BAD: u8 = 66;

fn rule(when: Vec<Condition>, unless: Vec<Condition>, action: Action) -> Rule {
    Rule {
        name: "rule".to_owned(),
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

fn addresses(of: impl Fn(Family) -> IpAddr) -> Vec<AddressItem> {
    let nets = Family::ALL.into_iter().map(|family| Net::host(of(family)));
    nets.map(AddressItem::Net).collect()
}

/// A bad origin is closed to everybody but the member, and the other client has one port only.
fn rules() -> RuleSet {
    let bad = Condition::Destination(addresses(|family| family.origin(BAD)));
    let member = Condition::Client(addresses(Family::member));
    let other = Condition::Client(addresses(Family::other));
    let reset = Action::Block(BlockKind::Reset);
    RuleSet {
        rules: vec![
            rule(vec![bad], vec![member], reset.clone()),
            rule(
                vec![other],
                vec![Condition::Port(vec![PortRange::single(443)])],
                reset,
            ),
            rule(vec![], vec![], Action::Allow),
        ],
        ..RuleSet::default()
    }
}

fn ruled(world: &mut World) {
    world.rules = rules();
    world.steer.http = vec![PortRange::single(80), PortRange::single(8080)];
}

/// Whether the daemon, if it were given the flow, would reset it at once.
fn is_reset(policy: &Policy, client: IpAddr, remote: SocketAddr) -> bool {
    let facts = Facts::packet(client, remote.ip(), remote.port());
    let decision = policy.decide(&facts, &mut Scratch::default());
    matches!(decision, Decision::Decided(decided)
        if decided.outcome == Outcome::Block(BlockKind::Reset))
}

/// An address, with its last bits by chance.
fn any(dice: &mut Dice, family: Family) -> IpAddr {
    let low = u32::try_from(dice.below(1 << 24)).unwrap();
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0b00_0000 + low).into(),
        Family::V6 => Ipv6Addr::from_bits((0x2001_0db9 << 96) + u128::from(low)).into(),
    }
}

fn random_flows(bench: &mut Bench, count: usize) -> (usize, usize) {
    let policy = Policy::compile(&rules()).unwrap();
    let mut dice = Dice::new(14);
    let (mut refused, mut steered) = (0, 0);
    for _ in 0..count {
        for family in Family::ALL {
            let stranger = any(&mut dice, family);
            let client = dice.one(&[family.member(), family.other(), stranger]);
            let stranger = any(&mut dice, family);
            let remote = dice.one(&[family.origin(BAD), family.origin(5), stranger]);
            let client = SocketAddr::new(client, 40_000);
            let remote = SocketAddr::new(remote, dice.one(&[80, 443, 8080]));
            let packet = Tcp::syn(client, remote).packet();
            if is_reset(&policy, client.ip(), remote) {
                bench.expect_out("refused", &packet, reject(Reason::PolicyRule));
                refused += 1;
            } else {
                bench.expect_out("steered", &packet, STEER);
                steered += 1;
            }
        }
    }
    (refused, steered)
}

both! {
    fn what_the_rules_refuse_by_addresses_is_refused_before_it_is_steered(bench) {
        bench.publish(ruled);
        for family in Family::ALL {
            let bad = family.origin_at(BAD, 443);
            let syn = |client| Tcp::syn(client, bad).packet();
            bench.expect_out("a client", &syn(other(family)), reject(Reason::PolicyRule));
            bench.expect_out("the member", &syn(member(family)), STEER);
            let http = Tcp::syn(other(family), origin(family, 80)).packet();
            bench.expect_out("another port", &http, reject(Reason::PolicyRule));
            let tls = Tcp::syn(other(family), origin(family, 443)).packet();
            bench.expect_out("the open port", &tls, STEER);
            // A flow from before the rule is judged anew.
            let data = Tcp::new(other(family), bad, flag::ACK | flag::PSH).payload(b"more").packet();
            bench.expect_out("inside a connection", &data, reject(Reason::PolicyRule));
        }
        bench.publish(|world| world.rules = RuleSet::default());
        for family in Family::ALL {
            let syn = Tcp::syn(other(family), family.origin_at(BAD, 443)).packet();
            bench.expect_out("without the rules", &syn, STEER);
        }
    }

    fn the_kernel_refuses_exactly_what_the_daemon_would_reset(bench) {
        bench.publish(ruled);
        let (refused, steered) = random_flows(bench, 2000);
        assert!(refused > 200 && steered > 200, "{refused} refused, {steered} steered");
    }
}
