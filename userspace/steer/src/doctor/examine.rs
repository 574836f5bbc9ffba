//! The checks.

use sluice_abi::Hook;

use super::{DeviceFacts, Fate, Finding, Firewall, Severity, Snapshot, SteeredPacket, environment};
use crate::route::PRIORITY;

/// Everything that is worth saying about a machine, what matters most first.
#[must_use]
pub fn examine(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    probe(snapshot, &mut findings);
    devices(snapshot, &mut findings);
    forwarding(snapshot, &mut findings);
    routing(snapshot, &mut findings);
    firewall(snapshot, &mut findings);
    sysctls(snapshot, &mut findings);
    let marks = snapshot.routing.marks;
    environment::examine(
        &snapshot.environment,
        (marks.steer, marks.mask),
        &mut findings,
    );
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

pub(super) fn finding(
    severity: Severity,
    check: &'static str,
    what: impl Into<String>,
    why: impl Into<String>,
    cure: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        check,
        what: what.into(),
        why: why.into(),
        cure: cure.into(),
    }
}

fn probe(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    if let Err(refusal) = snapshot.probe.check() {
        let sentence = refusal.to_string();
        let (what, cure) = sentence.split_once(": ").unwrap_or((sentence.as_str(), ""));
        let why = "sluice refuses to start";
        findings.push(finding(Severity::Problem, "kernel", what, why, cure));
    }
}

fn devices(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    if snapshot.devices.is_empty() {
        findings.push(finding(
            Severity::Warning,
            "lan",
            format!("no device matches [gateway] lan ({})", snapshot.lan),
            "nothing is policed until such a device appears; it is attached then",
            "compare with `ip -brief link`",
        ));
    }
    for device in &snapshot.devices {
        device_checks(device, findings);
    }
}

fn device_checks(device: &DeviceFacts, findings: &mut Vec<Finding>) {
    let name = &device.name;
    if device.link_type.is_none() {
        findings.push(finding(
            Severity::Problem,
            "link-type",
            format!("the frames of {name} are neither Ethernet nor bare IP"),
            "the kernel programs cannot read them, and sluice does not start",
            "take the device out of [gateway] lan",
        ));
    }
    if device.src_valid_mark && !device.accept_local {
        findings.push(finding(
            Severity::Problem,
            "src-valid-mark",
            format!("src_valid_mark is on for {name}"),
            "the check of a packet's source then follows the steering mark to the local table, and \
             every steered IPv4 packet is discarded as a martian",
            format!(
                "sysctl -w net.ipv4.conf.all.src_valid_mark=0 net.ipv4.conf.{}.src_valid_mark=0",
                sysctl_name(name)
            ),
        ));
    }
    if device.rp_filter == 1 {
        findings.push(finding(
            Severity::Warning,
            "rp-filter",
            format!("rp_filter is strict (1) on {name}"),
            "packets of clients whose way back leads through another device are discarded before \
             routing, steered or not",
            format!(
                "sysctl -w net.ipv4.conf.{}.rp_filter=2, unless every client is reached through \
                 this device alone",
                sysctl_name(name)
            ),
        ));
    }
    for (hook, programs) in &device.programs {
        program_order(name, *hook, programs, findings);
    }
}

/// `sysctl` reads a dot as a separator and a slash as a dot.
fn sysctl_name(device: &str) -> String {
    device.replace('.', "/")
}

fn program_order(device: &str, hook: Hook, programs: &[String], findings: &mut Vec<Finding>) {
    // The kernel cuts names at 15 bytes; the programs' are shorter.
    let ours = programs.iter().position(|program| program == hook.name());
    let (before, after) = programs.split_at(ours.unwrap_or(0));
    let after = after.get(usize::from(ours.is_some())..).unwrap_or_default();
    if !before.is_empty() {
        findings.push(finding(
            Severity::Warning,
            "tc-order",
            format!(
                "on {device} {} runs before {}",
                before.join(", "),
                hook.name()
            ),
            "what it redirects, accepts or discards is never judged",
            "attach it behind sluice, or restart sluice, which attaches first",
        ));
    }
    if !after.is_empty() {
        findings.push(finding(
            Severity::Note,
            "tc-others",
            format!(
                "on {device} {} is attached beside {}",
                after.join(", "),
                hook.name()
            ),
            "it sees what sluice lets pass, and may discard or change it",
            "nothing, where that is meant; `bpftool net` shows who is attached",
        ));
    }
}

fn forwarding(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    if snapshot.forward_v4 == Some(0) {
        findings.push(finding(
            Severity::Problem,
            "forward-v4",
            "IPv4 forwarding is off",
            "what the policy lets pass is not forwarded, so that clients reach nothing but steered \
             ports",
            "sysctl -w net.ipv4.ip_forward=1, and the same in /etc/sysctl.d",
        ));
    }
    if snapshot.forward_v6 == Some(0) {
        findings.push(finding(
            Severity::Warning,
            "forward-v6",
            "IPv6 forwarding is off",
            "clients with IPv6 addresses reach nothing but steered ports",
            "sysctl -w net.ipv6.conf.all.forwarding=1, unless the LAN has no IPv6",
        ));
    }
}

fn routing(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let (marks, table) = (snapshot.routing.marks, snapshot.routing.table);
    let (mark, mask) = (marks.steer, marks.mask);
    for rule in snapshot.rules.iter().filter(|rule| !rule.owned) {
        let reads_mark = rule.mask & mask != 0;
        let takes_steered = mark & rule.mask == rule.mark && rule.table != 0 && rule.general;
        let priority = rule.priority;
        if rule.table == table {
            findings.push(finding(
                Severity::Problem,
                "foreign-rule",
                format!("routing rule {priority} leads to table {table}, which is sluice's"),
                "its packets would be delivered to the gateway itself",
                "change the rule, or [gateway] table",
            ));
        } else if priority > 0 && priority < PRIORITY && takes_steered {
            findings.push(finding(
                Severity::Problem,
                "foreign-rule",
                format!("routing rule {priority} comes before sluice's and takes steered packets"),
                "they are forwarded by its table and never reach the daemon",
                format!("give the rule a priority above {PRIORITY}"),
            ));
        } else if reads_mark {
            findings.push(finding(
                Severity::Warning,
                "foreign-mark",
                format!(
                    "routing rule {priority} reads mark {:#x}/{:#x}, which overlaps sluice's mask \
                     {mask:#x}",
                    rule.mark, rule.mask
                ),
                "two programs write the same bits, and each misreads the other's",
                "change the rule's bits, or [gateway] mark",
            ));
        }
    }
    if snapshot.foreign_routes > 0 {
        findings.push(finding(
            Severity::Problem,
            "foreign-routes",
            format!(
                "table {table} holds {} routes of others",
                snapshot.foreign_routes
            ),
            "steered packets follow them in place of the local route",
            format!("look at `ip route show table {table}`, or change [gateway] table"),
        ));
    }
}

fn firewall(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let (mark, mask) = (snapshot.routing.marks.steer, snapshot.routing.marks.mask);
    if let Firewall::Unreadable(complaint) = &snapshot.firewall {
        findings.push(finding(
            Severity::Note,
            "nftables",
            format!("nft cannot list the rule set: {complaint}"),
            "whether INPUT lets steered packets in was not looked at",
            "run sluice doctor as root",
        ));
    }
    let mut seen = Vec::new();
    for device in &snapshot.devices {
        for (port, v4) in snapshot
            .steered_ports
            .iter()
            .flat_map(|port| [(*port, true), (*port, false)])
        {
            let packet = SteeredPacket {
                device: &device.name,
                v4,
                port,
                mark,
            };
            for found in snapshot.firewall.input(packet) {
                if found.fate == Fate::Accepted || seen.contains(&found.chain) {
                    continue;
                }
                let chain = &found.chain;
                let (severity, verb) = match found.fate {
                    Fate::Refused => (Severity::Problem, "refuses"),
                    _ => (Severity::Warning, "may refuse"),
                };
                findings.push(finding(
                    severity,
                    "input",
                    format!(
                        "nftables chain {chain} {verb} steered packets ({}, port {port})",
                        device.name
                    ),
                    "steered packets are delivered locally with the origin's address and port, so \
                     they pass through INPUT; refused there, the client waits in vain",
                    format!("nft insert rule {chain} meta mark and {mask:#x} == {mark:#x} accept"),
                ));
                seen.push(found.chain);
            }
        }
    }
    for chain in snapshot.firewall.marking_chains() {
        findings.push(finding(
            Severity::Warning,
            "foreign-mark",
            format!("nftables chain {chain} sets packet marks before routing"),
            "where it overwrites sluice's bits, steered packets are forwarded and never reach the \
             daemon",
            format!(
                "let it keep them: meta mark set (meta mark and {mask:#x}) or ..., or skip marked \
                 packets"
            ),
        ));
    }
    if !snapshot.legacy_iptables.is_empty() {
        findings.push(finding(
            Severity::Note,
            "iptables-legacy",
            format!(
                "the older iptables holds tables ({})",
                snapshot.legacy_iptables.join(", ")
            ),
            "nftables does not show them, so they were not looked at",
            format!(
                "look at `iptables-legacy -S INPUT`; accept with `iptables-legacy -I INPUT -m mark \
                 --mark {mark:#x}/{mask:#x} -j ACCEPT`"
            ),
        ));
    }
}

fn sysctls(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    if snapshot.syncookies == Some(0) {
        findings.push(finding(
            Severity::Warning,
            "syncookies",
            "SYN cookies are off",
            "a client that floods a steered port with SYNs keeps every other client from it",
            "sysctl -w net.ipv4.tcp_syncookies=1",
        ));
    }
    if snapshot.bpf_jit == Some(0) {
        findings.push(finding(
            Severity::Warning,
            "bpf-jit",
            "the BPF compiler is off",
            "the kernel programs are interpreted, several times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_abi::Marks;

    use super::{super::Environment, *};
    use crate::{LanPatterns, LinkType, Routing, probe::Probe, route::Rule};

    fn healthy() -> Snapshot {
        Snapshot {
            probe: Probe {
                release: "6.12.1".to_owned(),
                btf: true,
                root: true,
                cap_bpf: true,
                cap_net_admin: true,
                bpffs: true,
                bpffs_dir: "/sys/fs/bpf/sluice".to_owned(),
            },
            lan: LanPatterns::new(["lan0"]),
            routing: Routing {
                marks: Marks::new(0x5100_0000, 0xff00_0000).unwrap(),
                table: 5100,
            },
            steered_ports: vec![443],
            devices: vec![device()],
            forward_v4: Some(1),
            forward_v6: Some(1),
            syncookies: Some(1),
            bpf_jit: Some(1),
            rules: vec![rule(0, 0, 0, 255), rule(32766, 0, 0, 254)],
            foreign_routes: 0,
            firewall: Firewall::NoTool,
            legacy_iptables: Vec::new(),
            environment: Environment::default(),
        }
    }

    fn device() -> DeviceFacts {
        DeviceFacts {
            name: "lan0".to_owned(),
            link_type: Some(LinkType::Ethernet),
            rp_filter: 2,
            src_valid_mark: false,
            accept_local: false,
            programs: Vec::new(),
        }
    }

    fn rule(priority: u32, mark: u32, mask: u32, table: u32) -> Rule {
        Rule {
            priority,
            mark,
            mask,
            table,
            owned: false,
            general: true,
        }
    }

    fn programs(names: &[&str]) -> Vec<(Hook, Vec<String>)> {
        vec![(
            Hook::LanIngress,
            names.iter().map(|name| (*name).to_owned()).collect(),
        )]
    }

    #[test]
    fn a_healthy_machine_has_no_findings() {
        assert_eq!(examine(&healthy()), []);
        let own = Rule {
            owned: true,
            ..rule(PRIORITY, 0x5100_0000, 0xff00_0000, 5100)
        };
        let loaded = DeviceFacts {
            programs: programs(&["lan_ingress"]),
            ..device()
        };
        let snapshot = Snapshot {
            rules: vec![own],
            devices: vec![loaded],
            ..healthy()
        };
        assert_eq!(examine(&snapshot), []);
    }

    #[test]
    fn each_fault_is_found_and_has_a_cure() {
        use Severity::{Note, Problem, Warning};
        let closed = Firewall::Ruleset(json!({"nftables": [{"chain": {
            "family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop",
        }}]}));
        let with = |device| Snapshot {
            devices: vec![device],
            ..healthy()
        };
        let ruled = |rule| Snapshot {
            rules: vec![rule],
            ..healthy()
        };
        let h = healthy;
        let cases = [
            (
                Snapshot {
                    probe: Probe {
                        btf: false,
                        ..h().probe
                    },
                    ..h()
                },
                "kernel",
                Problem,
            ),
            (
                Snapshot {
                    devices: vec![],
                    ..h()
                },
                "lan",
                Warning,
            ),
            (
                with(DeviceFacts {
                    link_type: None,
                    ..device()
                }),
                "link-type",
                Problem,
            ),
            (
                with(DeviceFacts {
                    rp_filter: 1,
                    ..device()
                }),
                "rp-filter",
                Warning,
            ),
            (
                with(DeviceFacts {
                    src_valid_mark: true,
                    ..device()
                }),
                "src-valid-mark",
                Problem,
            ),
            (
                with(DeviceFacts {
                    programs: programs(&["x", "lan_ingress"]),
                    ..device()
                }),
                "tc-order",
                Warning,
            ),
            (
                with(DeviceFacts {
                    programs: programs(&["lan_ingress", "x"]),
                    ..device()
                }),
                "tc-others",
                Note,
            ),
            (
                Snapshot {
                    forward_v4: Some(0),
                    ..h()
                },
                "forward-v4",
                Problem,
            ),
            (
                Snapshot {
                    forward_v6: Some(0),
                    ..h()
                },
                "forward-v6",
                Warning,
            ),
            (ruled(rule(100, 7, 0xff, 5100)), "foreign-rule", Problem),
            (ruled(rule(9, 0, 0, 77)), "foreign-rule", Problem),
            (
                ruled(rule(100, 0x0100_0000, u32::MAX, 77)),
                "foreign-mark",
                Warning,
            ),
            (
                Snapshot {
                    foreign_routes: 2,
                    ..h()
                },
                "foreign-routes",
                Problem,
            ),
            (
                Snapshot {
                    firewall: closed,
                    ..h()
                },
                "input",
                Problem,
            ),
            (
                Snapshot {
                    firewall: Firewall::Unreadable("no".to_owned()),
                    ..h()
                },
                "nftables",
                Note,
            ),
            (
                Snapshot {
                    legacy_iptables: vec!["filter".to_owned()],
                    ..h()
                },
                "iptables-legacy",
                Note,
            ),
            (
                Snapshot {
                    syncookies: Some(0),
                    ..h()
                },
                "syncookies",
                Warning,
            ),
            (
                Snapshot {
                    bpf_jit: Some(0),
                    ..h()
                },
                "bpf-jit",
                Warning,
            ),
        ];
        for (snapshot, check, severity) in cases {
            let findings = examine(&snapshot);
            let [finding] = findings.as_slice() else {
                panic!("{check}: {findings:?}")
            };
            assert_eq!((finding.check, finding.severity), (check, severity));
            assert!(
                !finding.cure.is_empty() && !finding.why.is_empty(),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn what_keeps_sluice_from_working_comes_first() {
        let snapshot = Snapshot {
            syncookies: Some(0),
            forward_v4: Some(0),
            ..healthy()
        };
        let checks: Vec<_> = examine(&snapshot)
            .iter()
            .map(|finding| finding.check)
            .collect();
        assert_eq!(checks, ["forward-v4", "syncookies"]);
    }
}
