//! Where the daemon never connects to, whatever a client asked for.

mod class;
mod own;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use sluice_abi::Reason;
use sluice_policy::Net;

pub(crate) use class::is_translation_length;
use class::{Class, class, embedded};
pub use own::Own;

/// Who chose where a connection leads, which says how far it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// The client's own packets led there, and the kernel steered them: its routing could have taken
    /// it to private networks as well.
    Steered,
    /// The gateway was asked to go there: by a client of a proxy listener, or by a name. Its routing
    /// may lead where the client's would not.
    Asked,
}

/// The section `[guard]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// What clients that ask the gateway to connect may reach of what is otherwise closed to them.
    /// Networks open private ranges and the gateway's own networks; the gateway's own addresses,
    /// loopback, link-local and metadata addresses are opened by themselves alone.
    pub allow: Vec<Net>,
    /// Addresses that lead to the gateway though no device of it has them.
    pub own: Vec<IpAddr>,
    /// Prefixes under which the network translates IPv6 to IPv4, besides 64:ff9b::/96.
    pub nat64: Vec<Net>,
}

/// Keeps flows from being led to the gateway itself, or to what only the gateway could reach.
///
/// The kernel programs do not steer the first; this holds where a flow came some other way.
#[derive(Debug)]
pub struct Guard {
    listener_port: u16,
    known: RwLock<Arc<Known>>,
    loopback_allowed: bool,
}

#[derive(Clone, Debug, Default)]
struct Known {
    own: Own,
    settings: Settings,
}

impl Guard {
    /// A guard of a gateway whose transparent listener has this port.
    #[must_use]
    pub fn new(listener_port: u16) -> Self {
        Self {
            listener_port,
            known: RwLock::default(),
            loopback_allowed: false,
        }
    }

    /// A guard that lets flows go to loopback, for a gateway whose origins live there.
    #[must_use]
    pub fn allowing_loopback(listener_port: u16) -> Self {
        Self {
            loopback_allowed: true,
            ..Self::new(listener_port)
        }
    }

    /// Tells which addresses and networks the machine has.
    pub fn set_own(&self, own: Own) {
        if self.known().own != own {
            self.change(|known| known.own = own);
        }
    }

    /// Puts settings into force.
    pub fn set(&self, settings: Settings) {
        self.change(|known| known.settings = settings);
    }

    /// Why a destination is not connected to, or `None` where it may be.
    #[must_use]
    pub fn refuses(&self, reach: Reach, destination: SocketAddr) -> Option<Reason> {
        let ip = destination.ip().to_canonical();
        // On any address: the machine may be reached by one that it does not know of.
        if destination.port() == self.listener_port {
            return Some(Reason::SelfConnect);
        }
        if destination.port() == 0 {
            return Some(Reason::NeverConnect);
        }
        if ip.is_loopback() && self.loopback_allowed {
            return None;
        }
        self.known().refuses(reach, ip)
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut known));
    }
}

impl Known {
    fn refuses(&self, reach: Reach, ip: IpAddr) -> Option<Reason> {
        let IpAddr::V6(v6) = ip else {
            return self.refuses_itself(reach, ip);
        };
        let nat64 = &self.settings.nat64;
        // What stands under a prefix of the network's own translator is no place but the one that it
        // is translated to.
        let is_translated = nat64.iter().any(|net| net.contains(ip));
        let itself = if is_translated && !self.is_own(ip) {
            None
        } else {
            self.refuses_itself(reach, ip)
        };
        // Addresses that carry an IPv4 one reach what that one reaches.
        let carried = embedded(v6, nat64).map(|v4| self.refuses_itself(reach, IpAddr::V4(v4)));
        // Of several reasons the one that no setting could change.
        std::iter::once(itself)
            .chain(carried)
            .flatten()
            .max_by_key(|&reason| match reason {
                Reason::NeverConnect => 2,
                Reason::SelfConnect => 1,
                _ => 0,
            })
    }

    fn refuses_itself(&self, reach: Reach, ip: IpAddr) -> Option<Reason> {
        let class = class(ip);
        if class == Class::Nowhere {
            return Some(Reason::NeverConnect);
        }
        let allow = &self.settings.allow;
        let is_asked = reach == Reach::Asked;
        let is_named = || is_asked && allow.contains(&Net::host(ip));
        if class == Class::Local {
            return (!is_named()).then_some(Reason::NeverConnect);
        }
        if self.is_own(ip) {
            return (!is_named()).then_some(Reason::SelfConnect);
        }
        let is_within = |nets: &[Net]| nets.iter().any(|net| net.contains(ip));
        let is_private = class == Class::Private || is_within(&self.own.networks);
        (is_asked && is_private && !is_within(allow)).then_some(Reason::PrivateDestination)
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.own.addresses.contains(&ip) || self.settings.own.contains(&ip)
    }
}

/// Why an entry of `allow` opens nothing, or more than anybody means; `None` where it is in order.
pub(crate) fn mistake(net: Net) -> Option<&'static str> {
    const EACH: &str = "loopback, link-local and metadata addresses are opened one by one: write the \
                        single address";
    const NEVER: &str = "nobody is connected to there, whatever is allowed: take it out";
    if net.is_host() {
        return (class(net.address()) == Class::Nowhere).then_some(NEVER);
    }
    if net.bits() == 0 {
        return Some("would open every private network: write those that are meant");
    }
    match class(net.address()) {
        Class::Nowhere => Some(NEVER),
        Class::Local => Some(EACH),
        Class::Open | Class::Private => None,
    }
}

#[cfg(test)]
mod tests;
