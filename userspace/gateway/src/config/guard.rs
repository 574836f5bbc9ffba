//! The section `[guard]`: where clients of the gateway may have it connect to.

use std::net::IpAddr;

use sluice_policy::{Net, NetError};

use super::read::{Keys, Section};
use crate::daemon::guard::{Settings, is_translation_length, mistake};

pub(super) const GUARD: Keys = Keys {
    known: &["allow", "own", "nat64"],
    later: &[],
};

pub(super) fn guard(section: &Section<'_>) -> Settings {
    Settings {
        allow: section.list("allow", Vec::new, allowed),
        own: section.list("own", Vec::new, address),
        nat64: section.list("nat64", Vec::new, prefix),
    }
}

fn net(text: &str) -> Result<Net, String> {
    text.parse().map_err(|error: NetError| error.to_string())
}

fn allowed(text: &str) -> Result<Net, String> {
    let net = net(text)?;
    mistake(net).map_or(Ok(net), |message| Err(message.into()))
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map(|address: IpAddr| address.to_canonical())
        .map_err(|_| "expected an address, as in \"203.0.113.7\" or \"2001:db8::7\"".into())
}

fn prefix(text: &str) -> Result<Net, String> {
    let net = net(text)?;
    if net.address().is_ipv6() && is_translation_length(net.bits()) {
        Ok(net)
    } else {
        Err(
            "expected a prefix of IPv6 of 32, 40, 48, 56, 64 or 96 bits, as in \
             \"64:ff9b:1::/48\""
                .into(),
        )
    }
}
