//! What surrounds sluice on a machine: who else changes the firewall, limits, clock, offloads.

use std::{fs, path::Path, process::Command};

use rustix::process::{Resource, getrlimit};

use super::{Finding, Severity, examine::finding};

/// Descriptors of a flow through the daemon: two sockets, and while bytes move a pipe each way.
const FILES_OF_FLOW: u64 = 3;

/// Open files that flows leave to everything else.
const SPARE_FILES: u64 = 128;

/// Somebody else who writes rules of firewall or routing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manager {
    /// firewalld.
    Firewalld,
    /// Uncomplicated Firewall.
    Ufw,
    /// Several uplinks of OpenWrt.
    Mwan3,
    /// Docker.
    Docker,
}

impl Manager {
    /// Who is there, by what they leave below `root`.
    fn found(root: &Path) -> Vec<Self> {
        let there = |path: &str| root.join(path).exists();
        let enabled = |path: &str| {
            fs::read_to_string(root.join(path))
                .is_ok_and(|text| text.lines().any(|line| line.trim() == "ENABLED=yes"))
        };
        let all = [
            (Self::Firewalld, there("run/firewalld")),
            (Self::Ufw, enabled("etc/ufw/ufw.conf")),
            (Self::Mwan3, there("etc/config/mwan3")),
            (Self::Docker, there("run/docker.sock")),
        ];
        let found = all.into_iter().filter(|(_, there)| *there);
        found.map(|(manager, _)| manager).collect()
    }
}

/// What surrounds sluice. What is not known is not there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Environment {
    /// Who else writes rules.
    pub managers: Vec<Manager>,
    /// Whether the clock is held to others; `None`: nobody knows.
    pub clock_synchronised: Option<bool>,
    /// How many files a process may be allowed to open, and how many flows are allowed.
    pub files: Option<(u64, u64)>,
    /// Entries of the table of connections, and how many it can hold.
    pub conntrack: Option<(u64, u64)>,
    /// Flows that the kernel programs allow.
    pub kernel_flows: u64,
    /// How sending is paced, and how packets are queued.
    pub congestion: Option<(String, String)>,
    /// Offloads of LAN devices that are off, each with its device.
    pub offloads_off: Vec<(String, String)>,
    /// LAN devices that have filters of the older kind, and the kinds of those.
    pub filters: Vec<(String, String)>,
}

impl Environment {
    /// Looks around, at the LAN devices of these names.
    pub(super) fn collect<'d>(
        flow_limit: u64,
        kernel_flows: u64,
        devices: impl Iterator<Item = &'d str>,
    ) -> Self {
        let text = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let number = |path: &str| text(path)?.parse().ok();
        let conntrack = |key: &str| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{key}"));
        let core = |key: &str| text(&format!("/proc/sys/net/{key}"));
        let limit = getrlimit(Resource::Nofile).maximum;
        let (mut offloads_off, mut filters) = (Vec::new(), Vec::new());
        for device in devices {
            let named = |what: String| (device.to_owned(), what);
            let offloads = said("ethtool", &["-k", device]).unwrap_or_default();
            offloads_off.extend(off(&offloads).into_iter().map(named));
            for side in ["ingress", "egress"] {
                let found = said("tc", &["filter", "show", "dev", device, side]);
                let kinds = kinds(&found.unwrap_or_default());
                filters.extend(
                    kinds
                        .into_iter()
                        .map(|kind| named(format!("{kind} ({side})"))),
                );
            }
        }
        Self {
            managers: Manager::found(Path::new("/")),
            clock_synchronised: said("timedatectl", &["show", "-p", "NTPSynchronized", "--value"])
                .and_then(|text| synchronised(&text)),
            files: limit.map(|files| (files, flow_limit)),
            conntrack: conntrack("count").zip(conntrack("max")),
            kernel_flows,
            congestion: core("ipv4/tcp_congestion_control").zip(core("core/default_qdisc")),
            offloads_off,
            filters,
        }
    }
}

/// What a program prints that need not be there.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

fn synchronised(text: &str) -> Option<bool> {
    match text.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The offloads that carry bulk transfers and are off, of what `ethtool -k` prints; one that is fixed
/// is not the operator's to change.
fn off(text: &str) -> Vec<String> {
    const WANTED: [&str; 4] = [
        "tcp-segmentation-offload",
        "generic-segmentation-offload",
        "generic-receive-offload",
        "tx-checksumming",
    ];
    let named = text.lines().filter_map(|line| line.trim().split_once(": "));
    named
        .filter(|(name, state)| WANTED.contains(name) && *state == "off")
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The kinds of filters, of what `tc filter show` prints.
fn kinds(text: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("filter") {
            continue;
        }
        let kind = words.skip_while(|word| *word != "pref").nth(2);
        if let Some(kind) = kind.map(str::to_owned)
            && !kinds.contains(&kind)
        {
            kinds.push(kind);
        }
    }
    kinds
}

/// What is worth saying about the surroundings.
pub(super) fn examine(environment: &Environment, mark: (u32, u32), findings: &mut Vec<Finding>) {
    for manager in &environment.managers {
        findings.push(managed(*manager, mark));
    }
    clock_and_limits(environment, findings);
    if let Some((congestion, queue)) = &environment.congestion
        && congestion == "bbr"
        && queue != "fq"
    {
        findings.push(finding(
            Severity::Note,
            "bbr",
            format!("flows are paced by bbr, and packets queued by {queue}"),
            "the daemon's own legs of a flow are paced by timers of each socket then, which takes \
             processor time at high rates",
            "sysctl -w net.core.default_qdisc=fq, and give the devices that queue",
        ));
    }
    for (device, offload) in &environment.offloads_off {
        findings.push(finding(
            Severity::Note,
            "offload",
            format!("{offload} is off on {device}"),
            "the kernel handles single packets where it could handle large ones, and bulk transfers \
             cost several times the processor time",
            format!("ethtool -K {device} {} on", short(offload)),
        ));
    }
    for (device, kind) in &environment.filters {
        findings.push(finding(
            Severity::Note,
            "tc-filters",
            format!("{device} has tc filters: {kind}"),
            "they run behind sluice's programs, may discard or redirect what was let pass, and see \
             what was steered with its mark",
            format!(
                "nothing, where that is meant; `tc filter show dev {device} ingress` shows them"
            ),
        ));
    }
}

/// How `ethtool -K` calls an offload.
fn short(offload: &str) -> &'static str {
    match offload {
        "tcp-segmentation-offload" => "tso",
        "generic-segmentation-offload" => "gso",
        "generic-receive-offload" => "gro",
        _ => "tx",
    }
}

fn managed(manager: Manager, (mark, mask): (u32, u32)) -> Finding {
    match manager {
        Manager::Firewalld => finding(
            Severity::Note,
            "firewalld",
            "firewalld runs here",
            "it writes its rules anew at every reload, and refuses steered packets in INPUT unless \
             it is told otherwise",
            format!(
                "firewall-cmd --permanent --direct --add-rule ipv4 filter INPUT 0 -m mark --mark \
                 {mark:#x}/{mask:#x} -j ACCEPT, the same for ipv6, and firewall-cmd --reload"
            ),
        ),
        Manager::Ufw => finding(
            Severity::Note,
            "ufw",
            "ufw is enabled here",
            "it refuses what is delivered here unasked, which steered packets look like, and by \
             default what is forwarded",
            format!(
                "put `-A ufw-before-input -m mark --mark {mark:#x}/{mask:#x} -j ACCEPT` into \
                 /etc/ufw/before.rules and before6.rules, and set DEFAULT_FORWARD_POLICY=\"ACCEPT\" \
                 in /etc/default/ufw"
            ),
        ),
        Manager::Mwan3 => finding(
            Severity::Warning,
            "mwan3",
            "mwan3 is configured here",
            "it marks packets with bits of its own and has routing rules for them; where the bits \
             overlap, steered packets go to an uplink",
            format!("set mmx_mask in /etc/config/mwan3 to bits that are not in {mask:#x}"),
        ),
        Manager::Docker => finding(
            Severity::Note,
            "docker",
            "Docker runs here",
            "it sets the policy of FORWARD to DROP, so that clients of the gateway are not forwarded \
             unless a rule of DOCKER-USER accepts them",
            "iptables -I DOCKER-USER -i LAN -j ACCEPT and -o LAN, for each LAN device; or \
             \"iptables\": false in /etc/docker/daemon.json",
        ),
    }
}

fn clock_and_limits(environment: &Environment, findings: &mut Vec<Finding>) {
    if environment.clock_synchronised == Some(false) {
        findings.push(finding(
            Severity::Warning,
            "clock",
            "the clock is not synchronised",
            "certificates are judged, leaves made and schedules followed by it, and records bear its \
             times",
            "timedatectl set-ntp true, or start chrony",
        ));
    }
    if let Some((files, flows)) = environment.files {
        let room = files.saturating_sub(SPARE_FILES) / FILES_OF_FLOW;
        if room < flows {
            findings.push(finding(
                Severity::Warning,
                "open-files",
                format!("{files} open files are allowed here, which is room for {room} flows of {flows}"),
                "beyond that flows are refused before flow_limit in [gateway] is reached",
                format!(
                    "LimitNOFILE={} in the service, which has a limit of its own, or a lower flow_limit",
                    flows.saturating_mul(FILES_OF_FLOW).saturating_add(SPARE_FILES)
                ),
            ));
        }
    }
    let Some((count, max)) = environment.conntrack else {
        return;
    };
    if count >= max - max / 5 {
        findings.push(finding(
            Severity::Problem,
            "conntrack-full",
            format!("the table of connections has {count} of {max} entries"),
            "once it is full the kernel drops packets of new flows, and nothing of sluice tells of it",
            format!("sysctl -w net.netfilter.nf_conntrack_max={}", max.saturating_mul(4)),
        ));
    } else if max < environment.kernel_flows {
        findings.push(finding(
            Severity::Warning,
            "conntrack",
            format!(
                "the table of connections holds {max}, and sluice allows {} flows",
                environment.kernel_flows
            ),
            "the kernel drops packets of new flows before flow_limit in [egress] is reached",
            format!(
                "sysctl -w net.netfilter.nf_conntrack_max={}",
                environment.kernel_flows.saturating_mul(2)
            ),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(environment: &Environment) -> Vec<(&'static str, Severity)> {
        let mut findings = Vec::new();
        examine(environment, (0x5100_0000, 0xff00_0000), &mut findings);
        for finding in &findings {
            assert!(
                !finding.why.is_empty() && !finding.cure.is_empty(),
                "{finding:?}"
            );
        }
        findings
            .iter()
            .map(|one| (one.check, one.severity))
            .collect()
    }

    #[test]
    fn who_else_writes_rules_is_known_by_what_they_leave() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(Manager::found(root.path()), []);
        write(
            "etc/ufw/ufw.conf",
            "# ENABLED=yes would enable it\nENABLED=no\n",
        );
        assert_eq!(Manager::found(root.path()), []);
        write("etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=low\n");
        write("etc/config/mwan3", "");
        write("run/docker.sock", "");
        fs::create_dir_all(root.path().join("run/firewalld")).unwrap();
        let managers = Manager::found(root.path());
        assert_eq!(
            managers,
            [
                Manager::Firewalld,
                Manager::Ufw,
                Manager::Mwan3,
                Manager::Docker
            ]
        );
        let found = checks(&Environment {
            managers,
            ..Environment::default()
        });
        use Severity::{Note, Warning};
        assert_eq!(
            found,
            [
                ("firewalld", Note),
                ("ufw", Note),
                ("mwan3", Warning),
                ("docker", Note)
            ]
        );
    }

    #[test]
    fn each_surrounding_that_hinders_is_found() {
        use Severity::{Note, Problem, Warning};
        let quiet = Environment {
            clock_synchronised: Some(true),
            files: Some((1 << 20, 65_536)),
            conntrack: Some((10, 1 << 20)),
            kernel_flows: 262_144,
            congestion: Some(("cubic".into(), "fq_codel".into())),
            ..Environment::default()
        };
        assert_eq!(checks(&quiet), []);
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let all: [(Environment, (&str, Severity)); 7] = [
            (
                Environment {
                    clock_synchronised: Some(false),
                    ..quiet.clone()
                },
                ("clock", Warning),
            ),
            (
                Environment {
                    files: Some((1024, 65_536)),
                    ..quiet.clone()
                },
                ("open-files", Warning),
            ),
            (
                Environment {
                    conntrack: Some((9, 65_536)),
                    ..quiet.clone()
                },
                ("conntrack", Warning),
            ),
            (
                Environment {
                    conntrack: Some((900, 1000)),
                    ..quiet.clone()
                },
                ("conntrack-full", Problem),
            ),
            (
                Environment {
                    congestion: Some(pair("bbr", "fq_codel")),
                    ..quiet.clone()
                },
                ("bbr", Note),
            ),
            (
                Environment {
                    offloads_off: vec![pair("tun0", "generic-receive-offload")],
                    ..quiet.clone()
                },
                ("offload", Note),
            ),
            (
                Environment {
                    filters: vec![pair("lan0", "flower")],
                    ..quiet
                },
                ("tc-filters", Note),
            ),
        ];
        for (environment, expected) in all {
            assert_eq!(checks(&environment), [expected]);
        }
    }

    #[test]
    fn what_other_programs_print_is_read() {
        let ethtool = "Features for tun0:\nrx-checksumming: off [fixed]\ntx-checksumming: on\n\
                       \ttx-checksum-ipv4: off\ntcp-segmentation-offload: off\n\
                       generic-segmentation-offload: off [requested on]\ngeneric-receive-offload: on\n";
        assert_eq!(off(ethtool), ["tcp-segmentation-offload"]);
        let tc = "filter protocol ip pref 49152 flower chain 0 \nfilter protocol ip pref 49152 flower \
                  chain 0 handle 0x1 \n  eth_type ipv4\nfilter protocol all pref 49151 bpf chain 0 \n";
        assert_eq!(kinds(tc), ["flower", "bpf"]);
        assert_eq!(kinds(""), Vec::<String>::new());
        assert_eq!(synchronised("yes\n"), Some(true));
        assert_eq!(synchronised("no\n"), Some(false));
        assert_eq!(synchronised("unknown"), None);
    }
}
