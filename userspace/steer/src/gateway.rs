//! The gateway's own addresses: what is sent to them is the host's business.

use std::{
    collections::HashMap as StdMap,
    net::{IpAddr, Ipv4Addr},
};

use aya::maps::{HashMap, MapData};
use sluice_abi::{Addr, map};

use crate::{
    Error,
    maps::{MapSource, Wire, hash},
};

/// What an address in the map stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum AddressKind {
    /// The gateway's own.
    Unicast = 1,
    /// A broadcast address of one of its networks.
    Broadcast = 2,
}

/// The addresses that one assigned address makes: itself, and the broadcast addresses of its
/// network.
///
/// The kernel delivers to the network's last address whatever broadcast address is configured
/// (<https://github.com/torvalds/linux/blob/v6.6/net/ipv4/fib_frontend.c#L1144>).
pub(crate) fn own_addresses(
    own: IpAddr,
    prefix: u8,
    broadcast: Option<Ipv4Addr>,
) -> Vec<(IpAddr, AddressKind)> {
    // No packet may come for loopback (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3), and a
    // kernel with route_localnet would take it: it is left to be dropped as a bad destination.
    if own.is_unspecified() || own.is_loopback() {
        return Vec::new();
    }
    let mut addresses = vec![(own, AddressKind::Unicast)];
    if let IpAddr::V4(own) = own {
        let last = match u32::MAX.checked_shr(prefix.into()) {
            Some(host_bits) if prefix < 31 => Some(Ipv4Addr::from_bits(own.to_bits() | host_bits)),
            _ => None,
        };
        let broadcasts = broadcast.into_iter().chain(last);
        let others = broadcasts.filter(|address| *address != own && !address.is_unspecified());
        addresses.extend(others.map(|address| (address.into(), AddressKind::Broadcast)));
    }
    addresses
}

/// The map of the gateway's own addresses.
pub(crate) struct GatewayMap(HashMap<MapData, Wire<Addr>, u32>);

impl GatewayMap {
    pub(crate) fn open(source: impl MapSource) -> Result<Self, Error> {
        hash(source.open_map(map::GATEWAY)?, map::GATEWAY).map(Self)
    }

    /// Makes the map hold these addresses and no others; says whether anything changed.
    pub(crate) fn replace(
        &mut self,
        addresses: impl IntoIterator<Item = (IpAddr, AddressKind)>,
    ) -> Result<bool, Error> {
        let mut wanted: StdMap<Addr, u32> = StdMap::new();
        for (address, kind) in addresses {
            let value = wanted.entry(Addr::from(address)).or_insert(kind as u32);
            // An address that is the gateway's own somewhere is its own everywhere.
            *value = (*value).min(kind as u32);
        }
        let limit = map::GATEWAY.max_entries as usize;
        if wanted.len() > limit {
            let found = wanted.len();
            return Err(Error::PolicyTooLarge {
                what: "addresses of its own",
                found,
                limit,
            });
        }
        let mut stale = Vec::new();
        for entry in self.0.iter() {
            let (Wire(address), value) = entry.map_err(Error::map(map::GATEWAY.name))?;
            match wanted.get(&address) {
                Some(kind) if *kind == value => drop(wanted.remove(&address)),
                Some(_) => {}
                None => stale.push(address),
            }
        }
        let changed = !stale.is_empty() || !wanted.is_empty();
        // Stale ones first: a full map has to make room.
        for address in stale {
            match self.0.remove(&Wire(address)) {
                Ok(()) => {}
                Err(error) if crate::pin::is_absent(&error) => {}
                Err(error) => return Err(Error::map(map::GATEWAY.name)(error)),
            }
        }
        for (address, kind) in wanted {
            self.0
                .insert(Wire(address), kind, 0)
                .map_err(Error::map(map::GATEWAY.name))?;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assigned_address_brings_its_broadcast_address() {
        let own = |text: &str, prefix, broadcast: Option<&str>| {
            own_addresses(
                text.parse().unwrap(),
                prefix,
                broadcast.map(|text| text.parse().unwrap()),
            )
            .into_iter()
            .map(|(address, kind)| (address.to_string(), kind as u32))
            .collect::<Vec<_>>()
        };
        let pairs = |list: &[(&str, u32)]| -> Vec<_> {
            list.iter()
                .map(|(text, kind)| ((*text).to_owned(), *kind))
                .collect()
        };
        assert_eq!(
            own("10.1.2.3", 24, None),
            pairs(&[("10.1.2.3", 1), ("10.1.2.255", 2)])
        );
        assert_eq!(
            own("10.1.2.3", 24, Some("10.1.2.0")),
            pairs(&[("10.1.2.3", 1), ("10.1.2.0", 2), ("10.1.2.255", 2)])
        );
        assert_eq!(own("10.1.2.3", 32, None), pairs(&[("10.1.2.3", 1)]));
        assert_eq!(own("10.1.2.2", 31, None), pairs(&[("10.1.2.2", 1)]));
        assert_eq!(own("2001:db8::1", 64, None), pairs(&[("2001:db8::1", 1)]));
        for nobody in ["0.0.0.0", "127.0.0.1", "::1"] {
            assert_eq!(own(nobody, 8, None), pairs(&[]), "{nobody}");
        }
    }
}
