//! The policy and the addresses that packets are judged under.

use std::net::{IpAddr, SocketAddr};

use sluice_abi::{Marks, table::Direction};
use sluice_policy::{
    Policy, RuleSet,
    kernel::{
        CellSettings, Egress, EgressAction, EgressRule, KernelPolicy, Rules, Steer, Traffic,
        compile,
    },
    net::Net,
    port::PortRange,
};
use sluice_tests::family::Family;

/// Port of the transparent listener.
pub(crate) const LISTENER: u16 = 5101;

/// An origin that [`World::default`] opens more to than others, for the member alone.
pub(crate) const PARTNER: u8 = 50;

/// What a generation is made from.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) egress: Egress,
    pub(crate) steer: Steer,
    pub(crate) rules: RuleSet,
    pub(crate) midstream_pass: bool,
    pub(crate) fail_open: bool,
}

impl Default for World {
    /// The recipe: native ports closed, TCP 443 to the daemon, SSH and NTP open; and two rules: the
    /// member reaches a partner's VPN, and may be called on two ports.
    fn default() -> Self {
        let native = vec![PortRange::new(1024, 65535).unwrap()];
        let members: Vec<Net> = Family::ALL
            .iter()
            .map(|family| host(family.member()))
            .collect();
        let partner: Vec<Net> = Family::ALL
            .iter()
            .map(|family| host(family.origin(PARTNER)))
            .collect();
        let rules = vec![
            EgressRule {
                name: "partner".to_owned(),
                direction: Direction::Out,
                from: Some(members.clone()),
                to: Some(partner),
                traffic: Traffic {
                    tcp: vec![],
                    udp: vec![PortRange::single(4500)],
                    protocols: vec![50, 132],
                },
                action: EgressAction::Pass,
            },
            EgressRule {
                name: "calls".to_owned(),
                direction: Direction::In,
                from: Some(members),
                to: None,
                traffic: Traffic {
                    tcp: vec![PortRange::single(5001)],
                    udp: vec![PortRange::single(5000)],
                    protocols: vec![],
                },
                action: EgressAction::Pass,
            },
        ];
        Self {
            egress: Egress {
                default: EgressAction::Reject,
                block_tcp: native.clone(),
                block_udp: native,
                pass_tcp: vec![PortRange::single(22)],
                pass_udp: vec![PortRange::single(123)],
                quic: EgressAction::Reject,
                other_protocols: vec![],
                icmp_per_second: 100,
                flow_limit: 262_144,
                flow_limit_per_client: 8192,
                rules,
            },
            steer: Steer {
                tls: vec![PortRange::single(443)],
                http: vec![],
            },
            rules: RuleSet::default(),
            midstream_pass: false,
            fail_open: false,
        }
    }
}

impl World {
    /// The tables of these settings.
    pub(crate) fn compile(&self, generation: u32) -> KernelPolicy {
        let settings = CellSettings {
            generation,
            marks: Marks::new(0x5100_0000, 0xff00_0000).unwrap(),
            fail_open: self.fail_open,
            midstream_pass: self.midstream_pass,
            listener_port: LISTENER,
        };
        let policy = Policy::compile(&self.rules).unwrap();
        let rules = Rules {
            set: &self.rules,
            policy: &policy,
        };
        compile(&self.egress, &self.steer, Some(rules), &settings).unwrap()
    }
}

fn host(address: IpAddr) -> Net {
    Net::new(address, if address.is_ipv4() { 32 } else { 128 }).unwrap()
}

/// The member's end of a flow.
pub(crate) fn member(family: Family) -> SocketAddr {
    SocketAddr::new(family.member(), 40000)
}

/// The end of the client that is in no rule.
pub(crate) fn other(family: Family) -> SocketAddr {
    SocketAddr::new(family.other(), 41000)
}

/// An origin's end of a flow.
pub(crate) fn origin(family: Family, port: u16) -> SocketAddr {
    family.origin_at(5, port)
}
