//! What is known of a flow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sluice_peek::NotTls;
use sluice_policy::{
    Authority, CertificateState, CertificateStates, Connect, Facts, Listener, NotNegotiated,
    Policy, Stage, Tls, TlsVersion,
};

use super::metrics;
use super::peek::First;
use crate::facts::{self, Answered};
use crate::identity::Identity;
use crate::origin::Client;
use crate::page::Visitor;

/// What is known of a flow, gathered stage by stage; what of it a policy is told, says
/// [`Known::facts`].
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) client: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// When the flow began, in seconds since 1970.
    pub(crate) opened: i64,
    /// Who the client is, where somebody else than the policy says so.
    pub(crate) identity: Option<Arc<Identity>>,
    /// How it came by a proxy listener; `None`: the kernel steered it.
    pub(crate) proxied: Option<Arc<Proxied>>,
    pub(crate) first: Option<First>,
    pub(crate) application: Option<&'static str>,
    /// The host that the first request in the clear names.
    pub(crate) http_host: Option<Box<str>>,
    /// The client refused a leaf for the same place lately.
    pub(crate) rejected_ca: bool,
    pub(crate) answered: Option<Answered>,
    /// `None` while no handshake with the origin was made.
    pub(crate) certified: Option<Box<Certified>>,
}

/// What a client asked of a proxy listener.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Proxied {
    /// The listener's name.
    pub(crate) listener: Box<str>,
    /// What its CONNECT asks for; `None` for requests that name their URL.
    pub(crate) connect: Option<Connecting>,
}

/// What a CONNECT asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Connecting {
    /// The name or address, in canonical form.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) user_agent: Option<Box<str>>,
}

impl fmt::Display for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What a handshake of our own told of the origin.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    /// Whether TLS was negotiated in it, and if not why; `None` where that is not known.
    pub(crate) tls: Option<Tls>,
    /// The version that was chosen; `None` where the client's own hello was answered already.
    pub(crate) version: Option<TlsVersion>,
    pub(crate) states: CertificateStates,
    pub(crate) issuer: Option<String>,
    pub(crate) client_certificate: Option<bool>,
}

impl Certified {
    /// There was none, for a reason that says nothing of the origin.
    pub(crate) fn unavailable() -> Self {
        Self {
            tls: None,
            version: None,
            states: CertificateStates::of([CertificateState::Unavailable]),
            issuer: None,
            client_certificate: None,
        }
    }
}

impl Known {
    pub(crate) const fn new(client: SocketAddr, destination: SocketAddr, opened: i64) -> Self {
        Self {
            client,
            destination,
            opened,
            identity: None,
            proxied: None,
            first: None,
            application: None,
            http_host: None,
            rejected_ca: false,
            answered: None,
            certified: None,
        }
    }

    /// What a request in the clear to a proxy tells: it is HTTP, for this server.
    pub(crate) fn begin_request(&mut self, authority: &Authority) {
        self.first = Some(First::NotTls(NotTls::NotTls));
        self.application = Some("http");
        self.http_host = Some(authority.host().into());
        self.destination = (Ipv4Addr::UNSPECIFIED, authority.port()).into();
        if let Some(address) = authority.address() {
            self.destination.set_ip(address.to_canonical());
        }
    }

    /// Who the client is, for what is remembered of it.
    pub(crate) fn who(&self, policy: &Policy) -> Client {
        match self.visitor(policy) {
            Visitor::User(user) => Client::User(user.into()),
            Visitor::Address(address) => Client::Address(address),
        }
    }

    /// Who the client is, for warnings.
    pub(crate) fn visitor<'f>(&'f self, policy: &'f Policy) -> Visitor<'f> {
        self.user(policy)
            .map_or_else(|| Visitor::Address(self.client.ip()), Visitor::User)
    }

    /// The user, where it is known who the client is.
    pub(crate) fn user<'f>(&'f self, policy: &'f Policy) -> Option<&'f str> {
        match &self.identity {
            Some(identity) => Some(&identity.user),
            None => policy.user_at(self.client.ip()),
        }
    }

    /// The server name of the hello.
    pub(crate) fn sni(&self) -> Option<&str> {
        match &self.first {
            Some(First::Hello(hello)) => hello.sni.as_ref().map(|name| name.as_str()),
            _ => None,
        }
    }

    /// What the CONNECT asked for, where one opened the flow.
    pub(crate) fn connecting(&self) -> Option<&Connecting> {
        self.proxied.as_ref()?.connect.as_ref()
    }

    /// The name of the server: that of the hello or, where it has none, of the CONNECT.
    pub(crate) fn name(&self) -> Option<&str> {
        let is_name = |host: &&str| host.parse::<IpAddr>().is_err();
        let connecting = || Some(&*self.connecting()?.host).filter(is_name);
        self.sni().or_else(connecting)
    }

    /// The listener that took the flow; `None`: the kernel steered it.
    pub(crate) fn listener(&self) -> Option<&str> {
        self.proxied.as_ref().map(|proxied| &*proxied.listener)
    }

    /// Whether the client began with a genuine ClientHello.
    pub(crate) const fn is_hello(&self) -> bool {
        matches!(self.first, Some(First::Hello(_)))
    }

    /// Whether the client began with cleartext HTTP.
    pub(crate) fn is_http(&self) -> bool {
        self.application == Some("http")
    }

    /// What a policy is told, which says who the client is.
    pub(crate) fn facts<'f>(&'f self, policy: &'f Policy) -> Facts<'f> {
        let (client, destination) = (self.client.ip(), self.destination);
        let (address, port) = (destination.ip(), destination.port());
        let mut opened = facts::opened(policy, client, address, port, self.opened);
        opened.user = self.user(policy);
        if let Some(identity) = &self.identity {
            opened.groups = &identity.groups;
        }
        if let Some(proxied) = &self.proxied {
            opened.listener = Some(Listener::Proxy(&proxied.listener));
            opened.connect = proxied.connect.as_ref().map(|connect| Connect {
                host: Some(&connect.host),
                port: Some(connect.port),
                user_agent: connect.user_agent.as_deref(),
            });
        }
        let mut facts = match &self.first {
            None => opened,
            Some(First::Hello(hello)) => facts::of_hello(opened, hello),
            Some(First::NotTls(why)) => {
                facts::of_not_tls(opened, *why, self.application, self.http_host.as_deref())
            }
        };
        if facts.host.is_none() {
            facts.host = self.connecting().map(|connecting| &*connecting.host);
        }
        if let Some(answered) = self.answered {
            facts = facts::of_answer(facts, answered);
        }
        if let Some(certified) = &self.certified {
            facts.stage = Stage::Certificate;
            if let Some(tls) = certified.tls {
                facts.tls = Some(tls);
            }
            if certified.version.is_some() {
                facts.tls_version_chosen = certified.version;
            }
            facts.certificate = certified.states;
            facts.issuer = certified.issuer.as_deref();
            facts.client_certificate = certified.client_certificate;
        }
        if self.rejected_ca {
            facts.tls = Some(Tls::Not(NotNegotiated::ClientRejectedCa));
        }
        facts
    }

    /// What is known of the negotiation.
    pub(crate) fn tls(&self) -> metrics::Tls {
        let told = self.certified.as_ref().and_then(|certified| certified.tls);
        let told = told.or(self.answered.map(|answered| answered.tls));
        match (told, &self.first) {
            (Some(Tls::Negotiated), _) => metrics::Tls::Negotiated,
            (Some(Tls::Not(why)), _) => metrics::Tls::Not(why),
            _ if self.rejected_ca => metrics::Tls::Not(NotNegotiated::ClientRejectedCa),
            (_, None) => metrics::Tls::Unread,
            (_, Some(First::Hello(_))) => metrics::Tls::Hello,
            (_, Some(First::NotTls(why))) => metrics::Tls::Not(facts::not_negotiated(*why)),
        }
    }
}
