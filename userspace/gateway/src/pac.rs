//! The file by which clients find the proxy by themselves: `/proxy.pac`, and `/wpad.dat` for those
//! that look for it by WPAD.
//!
//! It looks up no names, which would delay every request and tell the client's resolver where it
//! goes: networks are for hosts that are addresses. Names are in sorted tables and searched label by
//! label, so that a list of many thousands costs no more than a few comparisons. The language is
//! that of 1999, which every client has.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use sluice_policy::{DomainList, HostPattern, Net};

/// The type of the file, which some clients insist on.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";

/// What clients go to without the proxy.
#[derive(Clone, Debug)]
pub enum DirectEntry {
    /// Names without a dot, written `<local>` as in the settings of most systems.
    Plain,
    /// A name, those below it, or both.
    Host(HostPattern),
    /// Addresses, where a client is given one in place of a name.
    Net(Net),
    /// A list of names.
    Domains(Arc<DomainList>),
    /// A list of addresses.
    Addresses(Arc<[Net]>),
}

impl FromStr for DirectEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "<local>" {
            return Ok(Self::Plain);
        }
        if let Ok(net) = text.parse() {
            return Ok(Self::Net(net));
        }
        // What looks like an address is a mistake in one.
        if text.contains(['/', ':']) {
            return Err(text
                .parse::<Net>()
                .map_or_else(|error| error.to_string(), |_| String::new()));
        }
        text.parse()
            .map(Self::Host)
            .map_err(|error: sluice_policy::HostError| error.to_string())
    }
}

/// How clients reach the proxy: `proxy.example:3128`, `192.0.2.1:3128`, `[2001:db8::1]:3128`, or the
/// same behind `https://`, where the proxy speaks TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyAddress {
    is_tls: bool,
    host: String,
    port: u16,
}

impl FromStr for ProxyAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a name or an address with a port, as in \
                                \"proxy.corp.example:3128\" or \"https://proxy.corp.example:3129\"";
        let (is_tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        if let Ok(address) = rest.parse::<SocketAddr>()
            && address.port() != 0
        {
            let host = match address.ip() {
                IpAddr::V4(v4) => v4.to_string(),
                IpAddr::V6(v6) => format!("[{v6}]"),
            };
            return Ok(Self {
                is_tls,
                host,
                port: address.port(),
            });
        }
        let (name, port) = rest.rsplit_once(':').ok_or(EXPECTED)?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|&port| is_number && port != 0);
        Ok(Self {
            is_tls,
            host: crate::names::canonical(name).map_err(|_| EXPECTED)?,
            port: port.ok_or(EXPECTED)?,
        })
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_tls { "HTTPS" } else { "PROXY" };
        write!(f, "{kind} {}:{}", self.host, self.port)
    }
}

/// The file, ready to be served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pac(Bytes);

impl Pac {
    /// Makes the file. Of several proxies clients take the first that answers; none answers for what
    /// is not direct otherwise, so that no client goes around them by itself.
    #[must_use]
    pub fn new(direct: &[DirectEntry], proxies: &[ProxyAddress]) -> Self {
        Self(pac(direct, proxies).into())
    }

    /// What a request for a path gets, with its content type; `None` for every other path.
    #[must_use]
    pub fn respond(&self, path: &str) -> Option<(&'static str, Bytes)> {
        let path = path.split('?').next().unwrap_or(path);
        matches!(path, "/proxy.pac" | "/wpad.dat").then(|| (CONTENT_TYPE, self.0.clone()))
    }
}

/// The text of the file.
#[must_use]
pub fn pac(direct: &[DirectEntry], proxies: &[ProxyAddress]) -> String {
    let mut tables = Tables::default();
    for entry in direct {
        tables.add(entry);
    }
    let proxies: Vec<_> = proxies.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = tables.write(&proxies.join("; "), &mut text);
    text + include_str!("pac/find_proxy.js")
}

#[derive(Default)]
struct Tables {
    plain: bool,
    exact: Vec<String>,
    below: Vec<String>,
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Tables {
    fn add(&mut self, entry: &DirectEntry) {
        match entry {
            DirectEntry::Plain => self.plain = true,
            DirectEntry::Host(pattern) => {
                let name = || pattern.name().to_owned();
                if !matches!(pattern, HostPattern::Below(_)) {
                    self.exact.push(name());
                }
                if !matches!(pattern, HostPattern::Exact(_)) {
                    self.below.push(name());
                }
            }
            DirectEntry::Net(net) => self.add_net(*net),
            DirectEntry::Domains(list) => {
                for pattern in list.iter().filter_map(|text| text.parse().ok()) {
                    self.add(&DirectEntry::Host(pattern));
                }
            }
            DirectEntry::Addresses(nets) => nets.iter().for_each(|net| self.add_net(*net)),
        }
    }

    fn add_net(&mut self, net: Net) {
        let (table, first, width) = match net.address() {
            IpAddr::V4(v4) => (&mut self.v4, v4.to_bits().into(), 32),
            IpAddr::V6(v6) => (&mut self.v6, v6.to_bits(), 128),
        };
        let all: u128 = if width == 32 {
            u32::MAX.into()
        } else {
            u128::MAX
        };
        let free = all.checked_shr(net.bits().into()).unwrap_or(0);
        table.push((first, first | free));
    }

    fn write(mut self, proxies: &str, out: &mut String) -> fmt::Result {
        writeln!(out, "// Made by sluice from its configuration.")?;
        writeln!(out, "var proxy = {};", quoted(proxies))?;
        writeln!(out, "var plain = {};", self.plain)?;
        for (name, table) in [("exact", &mut self.exact), ("below", &mut self.below)] {
            table.sort_unstable();
            table.dedup();
            write_table(out, name, table)?;
        }
        for (name, ranges, digits) in [("ranges4", self.v4, 8), ("ranges6", self.v6, 32)] {
            let bounds: Vec<_> = apart(ranges)
                .into_iter()
                .flat_map(|(first, last)| [first, last])
                .map(|bound| format!("{bound:0digits$x}"))
                .collect();
            write_table(out, name, &bounds)?;
        }
        Ok(())
    }
}

/// One text that is cut at its blanks: faster to read for clients than thousands of texts.
fn write_table(out: &mut String, name: &str, entries: &[String]) -> fmt::Result {
    if entries.is_empty() {
        return writeln!(out, "var {name} = [];");
    }
    writeln!(
        out,
        "var {name} = {}.split(\" \");",
        quoted(&entries.join(" "))
    )
}

/// Sorted, and joined where they overlap or touch.
fn apart(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut apart: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match apart.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => apart.push((first, last)),
        }
    }
    apart
}

/// A text of the language, of which nothing but the plainest characters stands for itself.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b" .:;-_[]".contains(&byte) => {
                quoted.push(byte.into());
            }
            _ => {
                let _ = write!(quoted, "\\u{unit:04x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_can_end_it() {
        assert_eq!(
            quoted("PROXY a.example:3128; X"),
            "\"PROXY a.example:3128; X\""
        );
        assert_eq!(
            quoted("\"\\\n</script>\u{2028}\u{1f600}"),
            "\"\\u0022\\u005c\\u000a\\u003c\\u002fscript\\u003e\\u2028\\ud83d\\ude00\""
        );
    }

    #[test]
    fn ranges_are_sorted_and_apart() {
        let ranges = vec![(20, 29), (0, 9), (10, 12), (25, 27), (u128::MAX, u128::MAX)];
        let expected = [(0, 12), (20, 29), (u128::MAX, u128::MAX)];
        assert_eq!(apart(ranges), expected);
    }

    #[test]
    fn entries_and_proxies_are_read_or_refused() {
        for text in [
            "<local>",
            "corp.example",
            "*.corp.example",
            ".corp.example",
            "10.0.0.0/8",
            "fd00::/8",
            "192.0.2.1",
        ] {
            assert!(text.parse::<DirectEntry>().is_ok(), "{text}");
        }
        for text in [
            "",
            "10.0.0.1/8",
            "fd00::/200",
            "*",
            "a b",
            "http://a.example/",
            "a.*.example",
        ] {
            assert!(text.parse::<DirectEntry>().is_err(), "{text}");
        }
        for (text, shown) in [
            ("Proxy.Corp.Example:3128", "PROXY proxy.corp.example:3128"),
            ("http://192.0.2.1:3128", "PROXY 192.0.2.1:3128"),
            ("https://[2001:db8::1]:443", "HTTPS [2001:db8::1]:443"),
        ] {
            let read: ProxyAddress = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
        }
        for text in [
            "",
            "proxy.example",
            "proxy.example:0",
            "192.0.2.1:0",
            "proxy.example:+1",
            "proxy.example:65536",
            "a b:1",
            "a;DIRECT:1",
            "127.1:3128",
            "socks://a.example:1",
            "u@a.example:1",
        ] {
            assert!(text.parse::<ProxyAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_paths_are_answered() {
        let pac = Pac::new(&[], &["proxy.example:3128".parse().unwrap()]);
        for path in ["/proxy.pac", "/wpad.dat", "/proxy.pac?x=1"] {
            let (kind, body) = pac.respond(path).unwrap();
            assert_eq!(kind, "application/x-ns-proxy-autoconfig");
            assert!(body.starts_with(b"// Made by sluice"));
        }
        for path in [
            "/",
            "/proxy.pac/",
            "/PROXY.PAC",
            "*",
            "",
            "/wpad.da",
            "//proxy.pac",
        ] {
            assert_eq!(pac.respond(path), None, "{path}");
        }
    }
}
