//! Which names an authority may sign for (RFC 5280 section 4.2.1.10).

use std::{fmt, net::IpAddr};

use x509_parser::extensions::{GeneralName, GeneralSubtree};

use crate::{LeafName, PresentedName};

/// The name constraints of one certificate, as far as they speak of servers: DNS names and
/// addresses. Leaves bear nothing else that could be constrained.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Constraints {
    permitted: Option<Subtrees>,
    excluded: Subtrees,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Subtrees {
    dns: Vec<String>,
    ip: Vec<Block>,
}

/// An address and a mask, as the certificate has them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Block {
    address: Vec<u8>,
    mask: Vec<u8>,
}

impl Constraints {
    pub(crate) fn new(
        permitted: Option<&[GeneralSubtree<'_>]>,
        excluded: Option<&[GeneralSubtree<'_>]>,
    ) -> Self {
        Self {
            permitted: permitted.map(Subtrees::new),
            excluded: excluded.map(Subtrees::new).unwrap_or_default(),
        }
    }

    /// Whether nothing is forbidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let permitted = self.permitted.as_ref();
        self.excluded.is_empty() && permitted.is_none_or(Subtrees::is_empty)
    }

    /// Whether a leaf for this name would be taken.
    #[must_use]
    pub fn allow(&self, name: &LeafName) -> bool {
        self.allow_presented(&PresentedName::from(name.clone()))
    }

    /// The same for a name with a star: all that it stands for must be allowed.
    pub(crate) fn allow_presented(&self, name: &PresentedName) -> bool {
        let base = name.base();
        if let Some(address) = base.ip() {
            let permitted = self.permitted.as_ref().map(|subtrees| &subtrees.ip);
            // A kind of name that no permitted subtree speaks of is not constrained by them.
            return permitted.is_none_or(|blocks| blocks.is_empty() || holds(blocks, address))
                && !holds(&self.excluded.ip, address);
        }
        let Some(base) = base.dns() else { return false };
        let permitted = self.permitted.as_ref().map(|subtrees| &subtrees.dns);
        let is_permitted = permitted.is_none_or(|subtrees| {
            subtrees.is_empty() || subtrees.iter().any(|subtree| is_within(base, subtree))
        });
        let is_excluded = self.excluded.dns.iter().any(|subtree| {
            let below = subtree.strip_prefix('.').unwrap_or(subtree);
            is_within(base, subtree) || name.is_wildcard() && is_within(below, base)
        });
        is_permitted && !is_excluded
    }
}

impl Subtrees {
    fn new(subtrees: &[GeneralSubtree<'_>]) -> Self {
        let mut read = Self::default();
        for subtree in subtrees {
            match &subtree.base {
                GeneralName::DNSName(name) => read.dns.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => {
                    let (address, mask) = bytes.split_at(bytes.len() / 2);
                    read.ip.push(Block {
                        address: address.to_vec(),
                        mask: mask.to_vec(),
                    });
                }
                _ => {}
            }
        }
        read
    }

    fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ip.is_empty()
    }
}

/// Whether a name is that of a subtree or below it. Some authorities write a dot in front, by which
/// clients understand what is below alone.
fn is_within(name: &str, subtree: &str) -> bool {
    let Some(above) = name.strip_suffix(subtree) else {
        return false;
    };
    subtree.is_empty()
        || if subtree.starts_with('.') {
            !above.is_empty()
        } else {
            above.is_empty() || above.ends_with('.')
        }
}

fn holds(blocks: &[Block], address: IpAddr) -> bool {
    let (v4, v6);
    let bytes: &[u8] = match address {
        IpAddr::V4(address) => {
            v4 = address.octets();
            &v4
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    blocks.iter().any(|block| {
        let masked = bytes.iter().zip(&block.mask).zip(&block.address);
        block.address.len() == bytes.len()
            && block.mask.len() == bytes.len()
            && masked
                .into_iter()
                .all(|((byte, mask), address)| byte & mask == address & mask)
    })
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match (
            <[u8; 4]>::try_from(self.address.as_slice()),
            <[u8; 16]>::try_from(self.address.as_slice()),
        ) {
            (Ok(v4), _) => IpAddr::from(v4),
            (_, Ok(v6)) => IpAddr::from(v6),
            _ => return f.write_str("no address"),
        };
        let ones: u32 = self.mask.iter().map(|byte| byte.count_ones()).sum();
        write!(f, "{address}/{ones}")
    }
}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let names = |subtrees: &Subtrees| {
            let dns = subtrees.dns.iter().map(ToString::to_string);
            let all: Vec<_> = dns
                .chain(subtrees.ip.iter().map(ToString::to_string))
                .collect();
            all.join(", ")
        };
        let permitted = self.permitted.as_ref().filter(|found| !found.is_empty());
        if let Some(permitted) = permitted {
            write!(f, "only {}", names(permitted))?;
        }
        if !self.excluded.is_empty() {
            let comma = if permitted.is_some() { ", " } else { "" };
            write!(f, "{comma}not {}", names(&self.excluded))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtrees(dns: &[&str], ip: &[(&[u8], &[u8])]) -> Subtrees {
        Subtrees {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            ip: ip
                .iter()
                .map(|(address, mask)| Block {
                    address: address.to_vec(),
                    mask: mask.to_vec(),
                })
                .collect(),
        }
    }

    #[test]
    fn names_are_held_against_subtrees() {
        let constraints = Constraints {
            permitted: Some(subtrees(&["corp.example", ".dotted.example"], &[])),
            excluded: subtrees(&["bank.corp.example"], &[(&[10, 0, 0, 0], &[255, 0, 0, 0])]),
        };
        let allow = |text| constraints.allow(&LeafName::parse(text).unwrap());
        for name in [
            "corp.example",
            "a.corp.example",
            "a.dotted.example",
            "192.0.2.1",
        ] {
            assert!(allow(name), "{name}");
        }
        for name in [
            "xcorp.example",
            "example",
            "dotted.example",
            "bank.corp.example",
            "a.bank.corp.example",
            "10.2.3.4",
        ] {
            assert!(!allow(name), "{name}");
        }
        let star = |text| constraints.allow_presented(&PresentedName::parse(text).unwrap());
        assert!(star("*.a.corp.example"));
        assert!(!star("*.corp.example"), "it stands for what is excluded");
        let text = constraints.to_string();
        let expected = "only corp.example, .dotted.example, not bank.corp.example, 10.0.0.0/8";
        assert_eq!(text, expected);
        assert!(Constraints::default().allow(&LeafName::parse("a.b").unwrap()));
        assert_eq!(Constraints::default().to_string(), "none");
    }

    #[test]
    fn addresses_are_held_against_blocks() {
        let permitted = subtrees(&[], &[(&[192, 0, 2, 0], &[255, 255, 255, 0])]);
        let constraints = Constraints {
            permitted: Some(permitted),
            excluded: Subtrees::default(),
        };
        let allow = |text| constraints.allow(&LeafName::parse(text).unwrap());
        assert!(allow("192.0.2.9") && allow("any.example"));
        assert!(!allow("192.0.3.9") && !allow("2001:db8::1"));
    }
}
