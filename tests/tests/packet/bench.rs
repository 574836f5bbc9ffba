//! Judges frames by the programs' code on the host and, as root, by the programs in the kernel,
//! and holds the two against each other: verdict, reason and counters.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, time::Duration};

use sluice_abi::{Addr, Entry, Hook, Reason, Verdict, table};
use sluice_policy::kernel::{ClassPrefix, KernelPolicy};
use sluice_programs::{Env as _, Judgement, Link, Packet, egress, host::Host, ingress, parse};
use sluice_steer::{AddressKind, LinkType, TestBench};
use sluice_tests::{family::Family, packet};

use crate::world::World;

/// What becomes of a frame, and why.
pub(crate) type Outcome = (Verdict, Reason);

/// Shorthand for an outcome that lets a frame on.
pub(crate) fn pass(reason: Reason) -> Outcome {
    (Verdict::Pass, reason)
}

/// Shorthand for an outcome that discards a frame without a word.
pub(crate) fn discard(reason: Reason) -> Outcome {
    (Verdict::Drop, reason)
}

/// Shorthand for an outcome that discards a frame with an answer.
pub(crate) fn reject(reason: Reason) -> Outcome {
    (Verdict::Reject, reason)
}

/// The outcome of a frame that goes to the daemon.
pub(crate) const STEER: Outcome = (Verdict::Steer, Reason::Steered);

/// Whether the kernel's programs judge beside the host's code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judges {
    /// The code on the host alone: needs no root.
    Host,
    /// Both.
    Both,
}

/// A gateway without a network.
pub(crate) struct Bench {
    judges: Judges,
    link: Link,
    world: World,
    policy: KernelPolicy,
    host: Host,
    kernel: Option<TestBench>,
    now: u64,
    tally: BTreeMap<(u8, Reason, u8), (u64, u64)>,
}

impl Bench {
    /// The gateway of the [`World`] that tests start from, with an Ethernet LAN.
    pub(crate) fn new(judges: Judges) -> Self {
        Self::of(judges, Link::Ethernet, World::default())
    }

    /// A gateway with these settings, in place of this one.
    pub(crate) fn again(&self, link: Link, world: World) -> Self {
        Self::of(self.judges, link, world)
    }

    fn of(judges: Judges, link: Link, world: World) -> Self {
        let addresses = own_addresses();
        let kernel = (judges == Judges::Both).then(|| {
            let link = match link {
                Link::Ethernet => LinkType::Ethernet,
                Link::Layer3 => LinkType::L3,
            };
            let mut kernel = TestBench::new(link).unwrap();
            kernel.set_gateway(addresses.clone()).unwrap();
            kernel
        });
        let mut host = Host {
            room: 262_144,
            ..Host::default()
        };
        for (address, kind) in addresses {
            let kind = match kind {
                AddressKind::Unicast => 1,
                AddressKind::Broadcast => 2,
            };
            host.gateway.insert(Addr::from(address), kind);
        }
        let policy = world.compile(0);
        // Far from zero, so that nothing looks younger than the clock.
        let now = 1_000_000_000_000;
        let tally = BTreeMap::new();
        let mut bench = Self {
            judges,
            link,
            world,
            policy,
            host,
            kernel,
            now,
            tally,
        };
        bench.publish(|_| {});
        bench
    }

    /// Changes the settings, as a new generation.
    pub(crate) fn publish(&mut self, change: impl FnOnce(&mut World)) {
        change(&mut self.world);
        let generation = self.host.cell.map_or(1, |cell| cell.generation + 1);
        self.policy = self.world.compile(generation);
        if let Some(kernel) = &mut self.kernel {
            assert_eq!(kernel.publish(&self.policy).unwrap(), generation);
        }
        self.host.cell = Some(self.policy.cell);
        self.host.steered = (0..=u16::MAX)
            .filter(|&port| {
                let word = self.policy.steered[usize::from(port / 64)];
                word >> (port % 64) & 1 != 0
            })
            .collect();
        self.host.matrix.clear();
        for cell in &self.policy.matrix {
            let at = table::matrix_index(0, cell.direction as u8, cell.client, cell.remote);
            self.host.matrix.insert(at, cell.table);
        }
        self.host.chunks.clear();
        for (number, table) in (0..).zip(&self.policy.tables) {
            let mut put = |first: u32, entries: &[Entry]| {
                for (chunk, entries) in (first..).zip(entries.chunks(table::CHUNK)) {
                    self.host.chunks.insert(chunk, entries.try_into().unwrap());
                }
            };
            put(table::tcp_chunk(0, number, 0), &table.tcp);
            put(table::udp_chunk(0, number, 0), &table.udp);
            put(table::protocol_chunk(0, number), &table.protocol);
        }
    }

    /// Lets time pass.
    pub(crate) fn later(&mut self, time: Duration) {
        self.now += u64::try_from(time.as_nanos()).unwrap();
    }

    /// The number of flows that the host remembers: answered ones, and others.
    pub(crate) fn flows(&self) -> (usize, usize) {
        (
            self.host.flows.borrow().len(),
            self.host.embryonic.borrow().len(),
        )
    }

    /// Judges a packet that a client sent.
    #[track_caller]
    pub(crate) fn out(&mut self, packet: &packet::Packet) -> Outcome {
        let frame = self.frame(packet);
        self.judge(Hook::LanIngress, &frame)
    }

    /// Judges a packet on its way to a client.
    #[track_caller]
    pub(crate) fn back(&mut self, packet: &packet::Packet) -> Outcome {
        let frame = self.frame(packet);
        self.judge(Hook::LanEgress, &frame)
    }

    /// Checks what becomes of a packet that a client sent.
    #[track_caller]
    pub(crate) fn expect_out(&mut self, what: &str, packet: &packet::Packet, expected: Outcome) {
        let outcome = self.out(packet);
        assert_eq!(outcome, expected, "{what}: {packet:?}");
    }

    /// Checks what becomes of a packet on its way to a client.
    #[track_caller]
    pub(crate) fn expect_back(&mut self, what: &str, packet: &packet::Packet, expected: Outcome) {
        let outcome = self.back(packet);
        assert_eq!(outcome, expected, "{what}: {packet:?}");
    }

    fn frame(&self, packet: &packet::Packet) -> Vec<u8> {
        match self.link {
            Link::Ethernet => packet.frame(),
            Link::Layer3 => packet.datagram(),
        }
    }

    /// Judges any bytes.
    #[track_caller]
    pub(crate) fn judge(&mut self, hook: Hook, frame: &[u8]) -> Outcome {
        let outcome = self.judge_on_host(hook, frame);
        if let Some(kernel) = &mut self.kernel {
            let found = kernel.run(hook, frame, 0, self.now).unwrap();
            assert_eq!(found, outcome, "the kernel disagrees about {}", hex(frame));
        }
        outcome
    }

    /// Judges bytes that the kernel's test run does not take, on the host alone. They must not
    /// change what is remembered.
    pub(crate) fn judge_unrunnable(&mut self, hook: Hook, frame: &[u8]) -> Outcome {
        let before = self.tally.clone();
        let outcome = self.judge_on_host(hook, frame);
        self.tally = before;
        outcome
    }

    fn judge_on_host(&mut self, hook: Hook, frame: &[u8]) -> Outcome {
        self.host.clock.set(self.now);
        let mut packet = Packet::EMPTY;
        let parsed = parse::parse(frame, self.link, &mut packet);
        let length = match parsed {
            Ok(()) => packet.length(),
            Err(_) => u32::try_from(frame.len()).unwrap(),
        };
        let judgement = match parsed {
            Err(Reason::NotIp) => Judgement::pass(Reason::NotIp),
            Err(reason) => Judgement::discard(reason),
            Ok(()) => {
                self.classify(&packet);
                let policy = self.host.policy().unwrap();
                match hook {
                    Hook::LanIngress => ingress::judge(&self.host, policy, frame, &packet),
                    Hook::LanEgress => egress::judge(&self.host, policy, frame, &packet),
                }
            }
        };
        let reason = Reason::from_code(judgement.reason()).unwrap();
        let verdict = judgement.verdict();
        let (packets, bytes) = self
            .tally
            .entry((hook as u8, reason, verdict as u8))
            .or_default();
        *packets += 1;
        *bytes += u64::from(length);
        (verdict, reason)
    }

    /// Does for the packet's addresses what the kernel's tries do for any.
    fn classify(&mut self, packet: &Packet) {
        for addr in [packet.src, packet.dst] {
            self.host
                .clients
                .insert(addr, class(&self.policy.clients, addr.to_ip()));
            self.host
                .remotes
                .insert(addr, class(&self.policy.remotes, addr.to_ip()));
        }
    }

    /// Checks that the kernel counted what the host judged, packets and bytes.
    pub(crate) fn check_counters(&self) {
        let Some(kernel) = &self.kernel else { return };
        let counted: BTreeMap<_, _> = kernel
            .counters()
            .unwrap()
            .packets
            .into_iter()
            .map(|counter| {
                let key = (counter.hook as u8, counter.reason, counter.verdict as u8);
                (key, (counter.packets, counter.bytes))
            })
            .collect();
        assert_eq!(counted, self.tally, "the kernel counts otherwise");
    }
}

/// The gateway's addresses, and the broadcast addresses of its links.
pub(crate) fn own_addresses() -> Vec<(IpAddr, AddressKind)> {
    let mut addresses = vec![
        ("10.77.0.255".parse().unwrap(), AddressKind::Broadcast),
        ("192.0.2.255".parse().unwrap(), AddressKind::Broadcast),
    ];
    for family in Family::ALL {
        for own in [
            family.gateway_lan(),
            family.gateway_wan(),
            family.on_lan(1, 1),
        ] {
            addresses.push((own, AddressKind::Unicast));
        }
    }
    addresses
}

fn class(prefixes: &[ClassPrefix], address: IpAddr) -> u32 {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let covers = |prefix: &&ClassPrefix| {
        let differs = bits(prefix.addr.to_ip()) ^ bits(address);
        differs.checked_shr(128 - prefix.bits).unwrap_or(0) == 0
    };
    let longest = prefixes
        .iter()
        .filter(covers)
        .max_by_key(|prefix| prefix.bits);
    longest.map_or(0, |prefix| prefix.class)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Makes of each function two tests: by the code on the host, and by that and the kernel.
macro_rules! both {
    ($($(#[doc = $doc:literal])* fn $name:ident($bench:ident) $body:block)+) => {
        $($(#[doc = $doc])* fn $name($bench: &mut crate::bench::Bench) $body)+

        mod host {
            $(#[test]
            fn $name() {
                super::$name(&mut crate::bench::Bench::new(crate::bench::Judges::Host));
            })+
        }

        mod kernel {
            $(#[test]
            #[ignore = "root: cargo xtask test"]
            fn $name() {
                let mut bench = crate::bench::Bench::new(crate::bench::Judges::Both);
                super::$name(&mut bench);
                bench.check_counters();
            })+
        }
    };
}
pub(crate) use both;
