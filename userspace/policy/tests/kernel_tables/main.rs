//! The kernel's tables against the plain reading of the egress section.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod refused;

use std::net::IpAddr;

use proptest::prelude::*;
use sluice_abi::{
    Addr, Entry, Marks, PolicyCell, Reason, Verdict,
    table::{Direction, MAX_CLASSES, MAX_TABLES},
};
use sluice_policy::{
    Net, PortRange,
    kernel::{
        CellSettings, ClassPrefix, Egress, EgressAction, EgressRule, KernelError, KernelPolicy,
        Steer, Traffic, compile, judge,
    },
};

fn settings() -> CellSettings {
    CellSettings {
        generation: 7,
        marks: Marks::new(0x5100_0000, 0xff00_0000).unwrap(),
        fail_open: false,
        midstream_pass: false,
        listener_port: 5143,
    }
}

fn recipe() -> Egress {
    Egress {
        default: EgressAction::Reject,
        block_tcp: vec![PortRange::new(1024, 65535).unwrap()],
        block_udp: vec![PortRange::new(1024, 65535).unwrap()],
        pass_tcp: vec![],
        pass_udp: vec![PortRange::single(123)],
        quic: EgressAction::Reject,
        other_protocols: vec![],
        icmp_per_second: 100,
        flow_limit: 262_144,
        flow_limit_per_client: 8192,
        rules: vec![],
    }
}

fn tls() -> Steer {
    Steer {
        tls: vec![PortRange::single(443)],
        http: vec![],
    }
}

/// Looks a packet up as the kernel programs do.
fn look_up(
    policy: &KernelPolicy,
    direction: Direction,
    client: IpAddr,
    remote: IpAddr,
    protocol: u8,
    port: u16,
) -> Entry {
    let client = class(&policy.clients, client);
    let remote = class(&policy.remotes, remote);
    let cell = policy
        .matrix
        .iter()
        .find(|c| c.direction == direction && c.client == client && c.remote == remote)
        .unwrap();
    let table = &policy.tables[cell.table as usize];
    match protocol {
        6 => table.tcp[usize::from(port)],
        17 => table.udp[usize::from(port)],
        other => table.protocol[usize::from(other)],
    }
}

/// Longest prefix match over 128 bits, without a thought about families.
fn class(prefixes: &[ClassPrefix], address: IpAddr) -> u32 {
    let number = |addr: Addr| {
        addr.0.iter().fold(0u128, |bits, word| {
            bits << 32 | u128::from(u32::from_be(*word))
        })
    };
    let address = number(Addr::from(address));
    prefixes
        .iter()
        .filter(|prefix| {
            let differing = number(prefix.addr) ^ address;
            differing.checked_shr(128 - prefix.bits).unwrap_or(0) == 0
        })
        .max_by_key(|prefix| prefix.bits)
        .map_or(0, |prefix| prefix.class)
}

fn nets() -> impl Strategy<Value = Net> {
    prop::sample::select(vec![
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.3",
        "192.0.2.0/24",
        "::/0",
        "2001:db8::/32",
        "2001:db8:1::/48",
        "2001:db8:1::1",
    ])
    .prop_map(|net| net.parse().unwrap())
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(vec![
        "10.1.2.3",
        "10.1.2.4",
        "10.1.3.4",
        "10.2.0.1",
        "192.0.2.9",
        "203.0.113.1",
        "2001:db8:1::1",
        "2001:db8:1::2",
        "2001:db8:2::1",
        "fd00::1",
    ])
    .prop_map(|address| address.parse().unwrap())
}

fn ranges() -> impl Strategy<Value = Vec<PortRange>> {
    let range = (1u16..600, 0u16..300)
        .prop_map(|(first, more)| PortRange::new(first, first.saturating_add(more)).unwrap());
    prop::collection::vec(range, 0..3)
}

fn actions() -> impl Strategy<Value = EgressAction> {
    prop::sample::select(vec![
        EgressAction::Pass,
        EgressAction::Drop,
        EgressAction::Reject,
    ])
}

fn protocols() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop::sample::select(vec![1u8, 2, 4, 6, 17, 47, 50, 58, 132]),
        0..3,
    )
}

fn directions() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::Out, Direction::In])
}

fn rules() -> impl Strategy<Value = EgressRule> {
    let list = || prop::option::of(prop::collection::vec(nets(), 0..3));
    (
        directions(),
        list(),
        list(),
        ranges(),
        ranges(),
        protocols(),
        actions(),
    )
        .prop_map(
            |(direction, from, to, tcp, udp, protocols, action)| EgressRule {
                name: "rule".into(),
                direction,
                from,
                to,
                traffic: Traffic {
                    tcp,
                    udp,
                    protocols,
                },
                action,
            },
        )
}

prop_compose! {
    fn egresses()(
        default in actions(),
        quic in actions(),
        block_tcp in ranges(),
        block_udp in ranges(),
        pass_tcp in ranges(),
        pass_udp in ranges(),
        other_protocols in protocols(),
        rules in prop::collection::vec(rules(), 0..5),
    ) -> Egress {
        Egress {
            default, quic, block_tcp, block_udp, pass_tcp, pass_udp, other_protocols, rules,
            ..recipe()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_the_section_means(
        egress in egresses(),
        steered in ranges(),
        packets in prop::collection::vec(
            (
                directions(),
                addresses(),
                addresses(),
                prop::sample::select(vec![1u8, 2, 4, 6, 6, 6, 17, 17, 17, 47, 50, 58, 132, 200]),
                prop_oneof![0u16..1000, Just(443)],
            ),
            200,
        ),
    ) {
        let steer = Steer { tls: steered, http: vec![] };
        let policy = match compile(&egress, &steer, None, &settings()) {
            Ok(policy) => policy,
            Err(error) => {
                // Few rules can still make more tables than the kernel holds.
                let too_many = matches!(error, KernelError::Tables { .. });
                prop_assert!(too_many, "{}", error);
                return Ok(());
            }
        };
        for (direction, client, remote, protocol, port) in packets {
            prop_assert_eq!(
                look_up(&policy, direction, client, remote, protocol, port),
                judge(&egress, &steer, None, direction, client, remote, protocol, port),
                "{:?} {} {} {} {}", direction, client, remote, protocol, port
            );
        }
        for port in 0..=u16::MAX {
            let word = policy.steered[usize::from(port) / 64];
            let expected = policy
                .tables
                .iter()
                .any(|table| table.tcp[usize::from(port)].verdict() == Verdict::Steer);
            prop_assert_eq!(word >> (port % 64) & 1 == 1, expected);
        }
        for (index, table) in policy.tables.iter().enumerate() {
            prop_assert!(!policy.tables[..index].contains(table), "a table is stored twice");
        }
    }
}

#[test]
fn the_recipe_is_two_tables_and_no_classes() {
    let policy = compile(&recipe(), &tls(), None, &settings()).unwrap();
    assert_eq!(policy.tables.len(), 2);
    assert!(policy.clients.is_empty() && policy.remotes.is_empty());
    let out = |protocol, port| {
        let (client, remote) = ("10.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        look_up(&policy, Direction::Out, client, remote, protocol, port)
    };
    assert_eq!(out(6, 443), Entry::new(Verdict::Steer, Reason::Steered));
    assert_eq!(
        out(6, 40002),
        Entry::new(Verdict::Reject, Reason::NativeTcp)
    );
    assert_eq!(
        out(6, 25),
        Entry::new(Verdict::Reject, Reason::EgressDefault)
    );
    assert_eq!(
        out(17, 40022),
        Entry::new(Verdict::Reject, Reason::NativeUdp)
    );
    assert_eq!(out(17, 443), Entry::new(Verdict::Reject, Reason::Quic));
    assert_eq!(out(17, 123), Entry::new(Verdict::Pass, Reason::Listed));
    assert_eq!(out(132, 0), Entry::new(Verdict::Reject, Reason::Protocol));
    let cell = policy.cell;
    assert_eq!(cell.generation, 7);
    assert_eq!(cell.flags, 0);
    assert_eq!(cell.listener_port, 5143u16.to_be());
    assert_eq!(cell.icmp_interval, 10_000_000);
    assert_eq!(cell.heartbeat_ns, 5_000_000_000);
    assert_eq!(
        cell.native_udp,
        Entry::new(Verdict::Reject, Reason::NotQuic)
    );
    assert_eq!(
        policy
            .steered
            .iter()
            .map(|word| word.count_ones())
            .sum::<u32>(),
        1
    );
    assert_eq!(policy.steered[443 / 64] >> (443 % 64), 1);
}

#[test]
fn a_silent_default_closes_ports_silently() {
    let egress = Egress {
        default: EgressAction::Drop,
        ..recipe()
    };
    let policy = compile(&egress, &tls(), None, &settings()).unwrap();
    assert_eq!(
        policy.cell.native_udp,
        Entry::new(Verdict::Drop, Reason::NotQuic)
    );
    let open = Egress {
        default: EgressAction::Pass,
        block_udp: vec![],
        ..recipe()
    };
    let policy = compile(&open, &tls(), None, &settings()).unwrap();
    assert_eq!(
        policy.cell.native_udp,
        Entry::new(Verdict::Pass, Reason::NotQuic)
    );
}

#[test]
fn flags_tell_what_the_programs_may_leave_out() {
    let rule = EgressRule {
        name: "vpn".into(),
        direction: Direction::Out,
        from: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        to: None,
        traffic: Traffic {
            protocols: vec![50],
            ..Traffic::default()
        },
        action: EgressAction::Pass,
    };
    let egress = Egress {
        rules: vec![rule],
        ..recipe()
    };
    let settings = CellSettings {
        fail_open: true,
        midstream_pass: true,
        ..settings()
    };
    let flags = compile(&egress, &tls(), None, &settings)
        .unwrap()
        .cell
        .flags;
    let expected = PolicyCell::FLAG_CLIENT_CLASSES
        | PolicyCell::FLAG_FAIL_OPEN
        | PolicyCell::FLAG_MIDSTREAM_PASS;
    assert_eq!(flags, expected);
}

fn numbered(count: u8, traffic: impl Fn(u8) -> Traffic) -> Vec<EgressRule> {
    (0..count)
        .map(|number| EgressRule {
            name: format!("office {number}"),
            direction: Direction::Out,
            from: Some(vec![Net::host([10, 0, 0, number].into())]),
            to: None,
            traffic: traffic(number),
            action: EgressAction::Pass,
        })
        .collect()
}

#[test]
fn too_many_classes_are_refused_with_the_rules_and_the_cure() {
    let ssh = |_| Traffic {
        tcp: vec![PortRange::single(22)],
        ..Traffic::default()
    };
    let fits = numbered(MAX_CLASSES as u8 - 1, ssh);
    assert!(
        compile(
            &Egress {
                rules: fits,
                ..recipe()
            },
            &tls(),
            None,
            &settings()
        )
        .is_ok()
    );
    let rules = numbered(MAX_CLASSES as u8, ssh);
    let error = compile(&Egress { rules, ..recipe() }, &tls(), None, &settings()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the `from` lists of the egress rules \"office 0\", \"office 1\", \"office 2\", \
         \"office 3\", \"office 4\", and 59 more divide addresses into 65 classes, the kernel \
         holds 64: use the same list in several rules, or merge rules"
    );
}

#[test]
fn too_many_tables_are_refused_with_the_rules_and_the_cure() {
    // Out: one table per office and one for the rest; in: one.
    let own = |number| Traffic {
        tcp: vec![PortRange::single(100 + u16::from(number))],
        ..Traffic::default()
    };
    let most = MAX_TABLES as u8;
    let fits = numbered(most - 2, own);
    assert!(
        compile(
            &Egress {
                rules: fits,
                ..recipe()
            },
            &tls(),
            None,
            &settings()
        )
        .is_ok()
    );
    let rules = numbered(most - 1, own);
    let error = compile(&Egress { rules, ..recipe() }, &tls(), None, &settings()).unwrap_err();
    assert!(matches!(&error, KernelError::Tables { rules, most: 64 } if rules.len() == 63));
    assert!(error.to_string().ends_with(
        "combine into more than 64 different port tables: let rules that share addresses share \
         ports too, or merge rules"
    ));
}
