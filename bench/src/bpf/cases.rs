//! The packets that are measured, under the recipe's egress section.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use sluice_abi::{Hook, Marks, Reason, Verdict};
use sluice_policy::{
    PortRange,
    kernel::{CellSettings, Egress, EgressAction, KernelPolicy, Steer, compile},
};
use sluice_steer::{AddressKind, LinkType, TestBench};

use super::frame::{self, Part, flag};

/// One packet and what it must come to.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is.
    pub name: String,
    /// Which program sees it.
    pub hook: Hook,
    /// The packet.
    pub frame: Vec<u8>,
    /// What becomes of it, lest something else is measured than was meant.
    pub outcome: (Verdict, Reason),
    /// Packets that the programs see first.
    pub before: Vec<(Hook, Vec<u8>)>,
    /// How it is run.
    pub mode: Mode,
}

/// How a packet is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// By the programs as they are attached, clock and counters included.
    Live,
    /// By the programs as replay loads them, which end before a socket is looked for or an answer
    /// written: a test run can do neither, and its frames seem to come from a socket. They read
    /// their clock from a map.
    Judged,
}

/// A gateway that passes TCP 22 and UDP 123, steers TCP 443 and closes the native ports.
fn policy() -> Result<KernelPolicy> {
    let ports = |first, last| PortRange::new(first, last).context("a port range");
    let egress = Egress {
        default: EgressAction::Reject,
        block_tcp: vec![ports(1024, 65535)?],
        block_udp: vec![ports(1024, 65535)?],
        pass_tcp: vec![PortRange::single(22)],
        pass_udp: vec![PortRange::single(123)],
        quic: EgressAction::Reject,
        other_protocols: Vec::new(),
        icmp_per_second: 100,
        flow_limit: 262_144,
        flow_limit_per_client: 262_144,
        rules: Vec::new(),
    };
    let steer = Steer {
        tls: vec![PortRange::single(443)],
        http: Vec::new(),
    };
    let settings = CellSettings {
        generation: 1,
        marks: Marks::new(0x5100_0000, 0xff00_0000).context("firewall marks")?,
        fail_open: false,
        midstream_pass: false,
        listener_port: 61443,
    };
    Ok(compile(&egress, &steer, None, &settings)?)
}

/// The programs with that policy.
///
/// # Errors
///
/// Not root, or the kernel refuses the programs.
pub fn programs(mode: Mode) -> Result<TestBench> {
    let mut programs = match mode {
        Mode::Live => TestBench::live(LinkType::Ethernet)?,
        Mode::Judged => TestBench::new(LinkType::Ethernet)?,
    };
    programs.publish(&policy()?)?;
    programs.set_gateway([
        ("10.20.0.1".parse()?, AddressKind::Unicast),
        ("2001:db8:20::1".parse()?, AddressKind::Unicast),
    ])?;
    Ok(programs)
}

/// Addresses of one family.
struct Family {
    name: &'static str,
    client: &'static str,
    remote: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "IPv4",
        client: "10.20.0.7",
        remote: "203.0.113.5",
    },
    Family {
        name: "IPv6",
        client: "2001:db8:20::7",
        remote: "2001:db8:99::5",
    },
];

impl Family {
    fn client(&self, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.client.parse()?, port))
    }

    fn remote(&self, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.remote.parse()?, port))
    }
}

/// Every packet that can be run again and again.
///
/// # Errors
///
/// None in practice: an address that is none.
pub fn repeated() -> Result<Vec<Case>> {
    let mut all = vec![Case {
        name: "not IP".to_owned(),
        hook: Hook::LanIngress,
        frame: frame::arp(),
        outcome: (Verdict::Pass, Reason::NotIp),
        before: Vec::new(),
        mode: Mode::Live,
    }];
    for family in &FAMILIES {
        all.extend(of(family)?);
    }
    Ok(all)
}

fn of(family: &Family) -> Result<Vec<Case>> {
    let (ssh, ssh_client) = (family.remote(22)?, family.client(40_022)?);
    let (web, web_client) = (family.remote(443)?, family.client(40_443)?);
    let (native, native_client) = (family.remote(33_033)?, family.client(40_033)?);
    let (time, time_client) = (family.remote(123)?, family.client(40_123)?);
    let handshake = vec![
        (Hook::LanIngress, frame::tcp(ssh_client, ssh, flag::SYN)),
        (
            Hook::LanEgress,
            frame::tcp(ssh, ssh_client, flag::SYN | flag::ACK),
        ),
        (Hook::LanIngress, frame::tcp(ssh_client, ssh, flag::ACK)),
    ];
    let asked = vec![
        (Hook::LanIngress, frame::udp(time_client, time, &[0; 48])),
        (Hook::LanEgress, frame::udp(time, time_client, &[0; 48])),
    ];
    let first = vec![(
        Hook::LanIngress,
        frame::fragment(time_client, time, Part::First),
    )];
    let none = Vec::new;
    let case = |name: &str, hook, frame, outcome, before, mode| Case {
        name: format!("{}, {name}", family.name),
        hook,
        frame,
        outcome,
        before,
        mode,
    };
    let ack = frame::tcp(ssh_client, ssh, flag::ACK);
    let answer = frame::tcp(ssh, ssh_client, flag::ACK);
    let steered = frame::tcp(web_client, web, flag::ACK);
    let refused = frame::tcp(native_client, native, flag::SYN);
    let dropped = frame::udp(native_client, native, &[0; 48]);
    let query = frame::udp(time_client, time, &[0; 48]);
    let rest = frame::fragment(time_client, time, Part::Second);
    let flow = (Verdict::Pass, Reason::Flow);
    let steer = (Verdict::Steer, Reason::Steered);
    Ok(vec![
        case(
            "established TCP that passes, out",
            Hook::LanIngress,
            ack,
            flow,
            handshake.clone(),
            Mode::Live,
        ),
        case(
            "established TCP that passes, back",
            Hook::LanEgress,
            answer,
            flow,
            handshake,
            Mode::Judged,
        ),
        case(
            "TCP to a steered port, without assignment",
            Hook::LanIngress,
            steered,
            steer,
            none(),
            Mode::Judged,
        ),
        case(
            "TCP SYN to a native port, without the answer",
            Hook::LanIngress,
            refused,
            (Verdict::Reject, Reason::NativeTcp),
            none(),
            Mode::Judged,
        ),
        case(
            "UDP to a native port, without the answer",
            Hook::LanIngress,
            dropped,
            (Verdict::Reject, Reason::NativeUdp),
            none(),
            Mode::Judged,
        ),
        case(
            "UDP of a known flow",
            Hook::LanIngress,
            query,
            flow,
            asked,
            Mode::Live,
        ),
        case(
            "later fragment",
            Hook::LanIngress,
            rest,
            (Verdict::Pass, Reason::Fragment),
            first,
            Mode::Live,
        ),
    ])
}

/// First packets of flows that pass, each of a flow of its own, and of other flows each round.
///
/// # Errors
///
/// More rounds than a network of the last sixteen bits has addresses.
pub fn first_packets(round: usize, count: u16) -> Result<Vec<(String, Vec<Vec<u8>>)>> {
    let host = u16::try_from(round + 256)?;
    let [high, low] = host.to_be_bytes();
    let clients: [IpAddr; 2] = [
        Ipv4Addr::new(10, 21, high, low).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0x21, 0, 0, 0, 0, host).into(),
    ];
    FAMILIES
        .iter()
        .zip(clients)
        .map(|(family, client)| {
            let frames = (0..count)
                .map(|at| {
                    let client = SocketAddr::new(client, 10_000 + at);
                    Ok(frame::tcp(client, family.remote(22)?, flag::SYN))
                })
                .collect::<Result<_>>()?;
            Ok((
                format!("{}, first SYN of a flow that passes", family.name),
                frames,
            ))
        })
        .collect()
}

/// Lets programs of [`Mode::Judged`] see a case's packets, and fails where the last comes to anything else
/// than was meant.
///
/// # Errors
///
/// The kernel refuses a frame, or the case is not what it says.
pub fn verify(programs: &mut TestBench, case: &Case) -> Result<()> {
    let now = 1_000_000_000;
    for (hook, frame) in &case.before {
        let (verdict, reason) = programs.run(*hook, frame, 0, now)?;
        ensure!(
            verdict == Verdict::Pass,
            "{}: a packet before it came to {verdict:?} {reason:?}",
            case.name
        );
    }
    let found = programs.run(case.hook, &case.frame, 0, now)?;
    if found != case.outcome {
        bail!(
            "{}: came to {found:?} instead of {:?}",
            case.name,
            case.outcome
        );
    }
    Ok(())
}
