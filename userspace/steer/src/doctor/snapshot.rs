//! What the doctor looks at.

use std::{fs, path::PathBuf, process::Command};

use aya::programs::SchedClassifier;
use serde_json::Value;
use sluice_abi::Hook;

use super::{Environment, Firewall};
use crate::{
    Device, Error, LanPatterns, LinkType, Routing,
    attach::attach_type,
    netlink::Netlink,
    probe::Probe,
    route::{self, Rule},
};

/// What the machine is to be examined for.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// Where things are pinned.
    pub bpffs_dir: PathBuf,
    /// The LAN devices.
    pub lan: LanPatterns,
    /// Marks and routing table.
    pub routing: Routing,
    /// Some of the TCP ports that are steered; the first ports of the ranges will do.
    pub steered_ports: Vec<u16>,
    /// Flows through the daemon that are allowed.
    pub flow_limit: u64,
    /// Flows that the kernel programs allow.
    pub kernel_flow_limit: u64,
}

/// Everything that the checks rest on.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whether the kernel and the process are able.
    pub probe: Probe,
    /// The patterns of the LAN devices.
    pub lan: LanPatterns,
    /// Marks and routing table.
    pub routing: Routing,
    /// Steered TCP ports.
    pub steered_ports: Vec<u16>,
    /// The LAN devices that exist.
    pub devices: Vec<DeviceFacts>,
    /// `net.ipv4.ip_forward`.
    pub forward_v4: Option<u32>,
    /// `net.ipv6.conf.all.forwarding`; `None` where the kernel has no IPv6.
    pub forward_v6: Option<u32>,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: Option<u32>,
    /// `net.core.bpf_jit_enable`; only root may read it.
    pub bpf_jit: Option<u32>,
    /// Routing rules of both families.
    pub rules: Vec<Rule>,
    /// Routes in sluice's table that are not sluice's.
    pub foreign_routes: usize,
    /// What nftables says.
    pub firewall: Firewall,
    /// Names of the tables that the older iptables holds, which nftables does not show.
    pub legacy_iptables: Vec<String>,
    /// What else there is on the machine.
    pub environment: Environment,
}

/// A LAN device, as it bears on steering.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceFacts {
    /// Name.
    pub name: String,
    /// What its frames begin with; `None`: sluice cannot read them.
    pub link_type: Option<LinkType>,
    /// `rp_filter` in force: the greater of `all` and the device's own.
    pub rp_filter: u32,
    /// `src_valid_mark` in force.
    pub src_valid_mark: bool,
    /// `accept_local` in force.
    pub accept_local: bool,
    /// Names of the programs on the tc hooks, in the order in which they run.
    pub programs: Vec<(Hook, Vec<String>)>,
}

impl Snapshot {
    /// Reads the machine, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Netlink does not answer. What else cannot be read is taken for absent.
    pub async fn collect(options: &DoctorOptions) -> Result<Self, Error> {
        let netlink = Netlink::connect()?;
        let mut devices = netlink.devices().await?;
        devices.retain(|device| options.lan.matches(&device.name));
        Ok(Self {
            probe: Probe::collect(&options.bpffs_dir),
            lan: options.lan.clone(),
            routing: options.routing,
            steered_ports: options.steered_ports.clone(),
            devices: devices.iter().map(facts).collect(),
            forward_v4: sysctl("net/ipv4/ip_forward"),
            forward_v6: sysctl("net/ipv6/conf/all/forwarding"),
            syncookies: sysctl("net/ipv4/tcp_syncookies"),
            bpf_jit: sysctl("net/core/bpf_jit_enable"),
            rules: route::all_rules(&netlink).await?,
            foreign_routes: route::foreign_routes(&netlink, options.routing.table).await?,
            firewall: nftables(),
            legacy_iptables: legacy_iptables(),
            environment: Environment::collect(
                options.flow_limit,
                options.kernel_flow_limit,
                devices.iter().map(|device| device.name.as_str()),
            ),
        })
    }
}

fn facts(device: &Device) -> DeviceFacts {
    let conf = |device: &str, key: &str| sysctl(&format!("net/ipv4/conf/{device}/{key}"));
    let greater = |key: &str| conf("all", key).max(conf(&device.name, key)).unwrap_or(0);
    let programs = Hook::ALL
        .into_iter()
        .map(|hook| {
            let found = SchedClassifier::query_tcx(&device.name, attach_type(hook));
            let names = found.map_or_else(
                |_| Vec::new(),
                |(_, programs)| {
                    let name = |info: &aya::programs::ProgramInfo| {
                        info.name_as_str().unwrap_or("?").to_owned()
                    };
                    programs.iter().map(name).collect()
                },
            );
            (hook, names)
        })
        .collect();
    DeviceFacts {
        name: device.name.clone(),
        link_type: device.link_type(),
        rp_filter: greater("rp_filter"),
        src_valid_mark: greater("src_valid_mark") != 0,
        accept_local: greater("accept_local") != 0,
        programs,
    }
}

fn sysctl(path: &str) -> Option<u32> {
    fs::read_to_string(format!("/proc/sys/{path}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Asks `nft`, since the rule set is only for reading here and has no simpler reader.
fn nftables() -> Firewall {
    let output = match Command::new("nft").args(["-j", "list", "ruleset"]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Firewall::NoTool,
        Err(error) => return Firewall::Unreadable(error.to_string()),
    };
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Firewall::Unreadable(complaint);
    }
    match serde_json::from_slice::<Value>(&output.stdout) {
        Ok(ruleset) => Firewall::Ruleset(ruleset),
        Err(error) => Firewall::Unreadable(error.to_string()),
    }
}

fn legacy_iptables() -> Vec<String> {
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|names| names.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}
