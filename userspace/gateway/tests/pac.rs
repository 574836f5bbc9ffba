//! The file by which clients find the proxy, as a real engine of its language reads it.
#![cfg(test)]

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sluice_gateway::pac::{DirectEntry, ProxyAddress, pac};
use sluice_policy::{DomainListBuilder, Net};

/// Reads the file and the hosts, in a context without anything that a browser would not give: the
/// helpers of the format, such as `dnsResolve`, are not there, so that whoever calls one fails.
const DRIVER: &str = r#"
const vm = require('node:vm');
const { text, hosts } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const context = vm.createContext(Object.create(null));
vm.runInContext(text, context, { filename: 'proxy.pac' });
const found = hosts.map(host => context.FindProxyForURL(`https://${host}/`, host));
process.stdout.write(JSON.stringify(found));
"#;

/// What the engine says of each host.
fn asked(text: &str, hosts: &[String]) -> Vec<String> {
    let mut node = Command::new("node")
        .args(["--use_strict", "-e", DRIVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed by `cargo xtask setup`");
    let input = serde_json::json!({ "text": text, "hosts": hosts }).to_string();
    let mut stdin = node.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn proxies() -> Vec<ProxyAddress> {
    ["proxy.corp.example:3128", "https://[2001:db8::1]:3129"]
        .map(|text| text.parse().unwrap())
        .into()
}

const PROXY: &str = "PROXY proxy.corp.example:3128; HTTPS [2001:db8::1]:3129";

fn entries(texts: &[&str]) -> Vec<DirectEntry> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[track_caller]
fn assert_answers(entries: &[DirectEntry], table: &[(&str, bool)]) {
    let hosts: Vec<_> = table.iter().map(|(host, _)| (*host).to_owned()).collect();
    let found = asked(&pac(entries, &proxies()), &hosts);
    for ((host, is_direct), found) in table.iter().zip(found) {
        let expected = if *is_direct { "DIRECT" } else { PROXY };
        assert_eq!(found, expected, "{host}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn an_engine_finds_what_is_direct() {
    let entries = entries(&[
        "<local>",
        "intranet.example",
        "*.corp.example",
        ".both.example",
        "b\u{fc}cher.example",
        "10.0.0.0/8",
        "192.0.2.7",
        "198.51.100.128/25",
        "fd00::/8",
        "2001:db8::7",
    ]);
    assert_answers(
        &entries,
        &[
            ("printer", true),
            ("PRINTER.", true),
            ("intranet.example", true),
            ("Intranet.Example.", true),
            ("a.intranet.example", false),
            ("corp.example", false),
            ("a.corp.example", true),
            ("a.b.CORP.example", true),
            ("acorp.example", false),
            ("both.example", true),
            ("a.both.example", true),
            ("xn--bcher-kva.example", true),
            ("example", true),
            ("news.example", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.127", false),
            ("198.51.100.128", true),
            ("198.51.101.0", false),
            // No addresses, whatever they look like.
            ("10.0.0.256", false),
            ("010.0.0.1", false),
            ("10.0.0.1.news.example", false),
            ("10.1", false),
            ("[fd00::1]", true),
            ("fd00::1", true),
            ("FDFF:0:0:0:0:0:0:1", true),
            ("[fc00::1]", false),
            ("[2001:db8::7]", true),
            ("[2001:db8:0:0:0:0:0:7]", true),
            ("[2001:0db8::0007]", true),
            ("[2001:db8::8]", false),
            ("[::ffff:10.0.0.1]", true),
            ("[::ffff:a00:1]", true),
            ("[::ffff:11.0.0.1]", false),
            ("[::1]", false),
            ("[fd00::1::2]", false),
            ("[fd00:1]", false),
            ("[fd00:1:2:3:4:5:6:7:8]", false),
            ("[fd00::g]", false),
            ("[]", false),
            ("", false),
            (".", false),
            ("__proto__.example", false),
            ("constructor", true),
        ],
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn nothing_is_direct_where_nothing_is_said() {
    let hosts = ["printer", "10.0.0.1", "[::1]", "constructor", "length", "0"];
    let table = hosts.map(|host| (host, false));
    assert_answers(&[], &table);
}

/// The tables say what the policy's own patterns and networks say, of a list that is long.
#[test]
#[ignore = "root: cargo xtask test"]
fn long_lists_agree_with_the_policy_s_patterns() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut name = |labels: u64| {
        let labels: Vec<_> = (0..=next(labels))
            .map(|_| format!("n{}", next(12)))
            .collect();
        labels.join(".")
    };
    let mut list = DomainListBuilder::default();
    let mut patterns = Vec::new();
    for number in 0..300 {
        let name = name(4) + ".example";
        let text = ["", "*.", "."][number % 3].to_owned() + &name;
        list.add(&text).unwrap();
        patterns.push(text.parse::<sluice_policy::HostPattern>().unwrap());
    }
    for number in 0..200_000 {
        list.add(&format!("site{number}.far.example")).unwrap();
    }
    let nets: Vec<Net> = (0..2000_u32)
        .map(|number| {
            let bits = number.wrapping_mul(2_654_435_761);
            let length = 12 + (number % 21) as u8;
            let v4 = std::net::Ipv4Addr::from_bits(bits & (u32::MAX << (32 - length)));
            if number % 2 == 0 {
                return Net::new(IpAddr::V4(v4), length).unwrap();
            }
            let v6 = std::net::Ipv6Addr::from_bits(0xfd << 120 | u128::from(v4.to_bits()) << 80);
            Net::new(IpAddr::V6(v6), length + 16).unwrap_or(Net::host(IpAddr::V6(v6)))
        })
        .collect();
    let entries = [
        DirectEntry::Domains(Arc::new(list.finish())),
        DirectEntry::Addresses(nets.clone().into()),
    ];
    let mut hosts: Vec<String> = (0..3000).map(|_| name(5) + ".example").collect();
    hosts.extend((0..500).map(|number| format!("a.site{}.far.example", number * 401)));
    hosts.extend((0..500).map(|number| format!("site{}.far.example", number * 401)));
    let edges = nets.iter().flat_map(|net| match net.address() {
        IpAddr::V4(v4) => {
            let first = v4.to_bits();
            let last = first | u32::MAX.checked_shr(net.bits().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| IpAddr::V4(bits.into()))
        }
        IpAddr::V6(v6) => {
            let first = v6.to_bits();
            let last = first | u128::MAX.checked_shr(net.bits().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| IpAddr::V6(bits.into()))
        }
    });
    hosts.extend(edges.map(|address| address.to_string()));
    let text = pac(&entries, &proxies());
    assert!(text.len() < 6 << 20, "{}", text.len());
    let found = asked(&text, &hosts);
    let mut direct = 0;
    for (host, found) in hosts.iter().zip(found) {
        let is_direct = match host.parse::<IpAddr>() {
            Ok(address) => nets.iter().any(|net| net.contains(address)),
            Err(_) => {
                patterns.iter().any(|pattern| pattern.matches(host))
                    || host.starts_with("site")
                        && host[4..]
                            .split('.')
                            .next()
                            .and_then(|number| number.parse::<u32>().ok())
                            .is_some_and(|number| number < 200_000)
            }
        };
        direct += usize::from(is_direct);
        let expected = if is_direct { "DIRECT" } else { PROXY };
        assert_eq!(found, expected, "{host}");
    }
    assert!(direct > 1000 && direct < hosts.len() - 1000, "{direct}");
}
