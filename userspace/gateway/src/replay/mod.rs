//! What a policy would have done with the packets of a capture.
//!
//! The packets that cross the LAN device go through the very kernel programs that a gateway runs,
//! loaded unattached; the first bytes of every TCP flow, and what the origin answers to a genuine
//! hello, go through the same peek, and what the programs would steer is decided by the same
//! policy. Nothing is sent.
//!
//! ```text
//! capture ─▶ frame ─▶ flows ─▶ kernel programs (first crossing packet decides)
//!                       └────▶ stream, answer ─▶ peek ─▶ policy
//! ```

mod answer;
mod capture;
mod flows;
mod frame;
mod record;
mod report;
mod stream;

use std::{net::IpAddr, path::Path};

use sluice_policy::Net;
use sluice_steer::{AddressKind, LinkType, TestBench};

pub use capture::{CaptureError, is_capture};
pub use record::{FlowRecord, Judged, Known, Side, Will};
pub use report::{Seen, Told, line};

use crate::config::Config;

/// Which addresses stand on which side of the gateway.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Prefixes behind the LAN device.
    pub lan: Vec<Net>,
    /// The gateway's own addresses.
    pub gateway: Vec<IpAddr>,
}

impl Topology {
    /// Private and unique-local addresses: RFC 1918, RFC 4193.
    #[must_use]
    pub fn private_lan() -> Vec<Net> {
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
            .into_iter()
            .filter_map(|prefix| prefix.parse().ok())
            .collect()
    }

    fn is_gateway(&self, addr: IpAddr) -> bool {
        self.gateway.contains(&addr)
    }

    /// Whether a client may have the address.
    #[must_use]
    pub fn is_client(&self, addr: IpAddr) -> bool {
        !self.is_gateway(addr) && self.lan.iter().any(|net| net.contains(addr))
    }
}

/// Why a capture could not be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The kernel programs cannot be loaded or run.
    #[error("the kernel programs cannot be loaded or run")]
    Kernel(#[from] sluice_steer::Error),
    /// The configuration's egress section does not fit the kernel's tables.
    #[error(transparent)]
    Policy(#[from] sluice_policy::kernel::KernelError),
    /// A packet could not be judged.
    #[error("packet {number} cannot be judged")]
    Packet {
        /// The packet's number in the capture, from 1.
        number: u64,
        /// What the kernel said.
        source: sluice_steer::Error,
    },
    /// A namespace of its own cannot be had.
    #[error("a network namespace for the replay: {0}; run as root")]
    Namespace(std::io::Error),
    /// The thread that replays ended early.
    #[error("the replay broke off; please report this with the capture")]
    Broken,
}

/// Replays a capture, in a network namespace of its own, and returns its flows in the order of
/// their first packets.
///
/// # Errors
///
/// The capture is damaged (the error names the packet), or the kernel programs cannot be loaded:
/// they need root and a kernel from 6.6 on.
pub fn replay(
    path: &Path,
    config: &Config,
    topology: &Topology,
) -> Result<Vec<FlowRecord>, ReplayError> {
    let packets = capture::open(path)?;
    // A namespace belongs to a thread, so this one ends with it.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("replay".to_owned())
            .spawn_scoped(scope, move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| ReplayError::Namespace(errno.into()))?;
                run(packets, config, topology)
            });
        let thread = thread.map_err(ReplayError::Namespace)?;
        thread.join().map_err(|_| ReplayError::Broken)?
    })
}

fn run(
    packets: capture::Packets,
    config: &Config,
    topology: &Topology,
) -> Result<Vec<FlowRecord>, ReplayError> {
    let mut bench = TestBench::new(LinkType::Ethernet)?;
    let mut kernel = config.kernel_policy(1)?;
    // Rates follow the wall clock of whoever sent the packets, which a replay does not live by.
    kernel.cell.icmp_interval = 0;
    bench.publish(&kernel)?;
    bench.set_gateway(
        topology
            .gateway
            .iter()
            .map(|addr| (*addr, AddressKind::Unicast)),
    )?;
    let mut flows = flows::Flows::new(&mut bench, topology, config.steer.hello_limit);
    for packet in packets {
        flows.packet(&packet?)?;
    }
    Ok(flows.finish(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_no_client_of_its_own() {
        let topology = Topology {
            lan: Topology::private_lan(),
            gateway: vec!["192.168.1.1".parse().unwrap()],
        };
        let is_client = |addr: &str| topology.is_client(addr.parse().unwrap());
        for client in [
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.2",
            "fc00::1",
            "fdff::1",
        ] {
            assert!(is_client(client), "{client}");
        }
        for other in [
            "192.168.1.1",
            "172.32.0.1",
            "100.64.0.1",
            "203.0.113.5",
            "fe80::1",
        ] {
            assert!(!is_client(other), "{other}");
        }
    }
}
