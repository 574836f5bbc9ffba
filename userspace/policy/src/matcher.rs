//! Compiled conditions and their three-valued answer.

use std::net::IpAddr;

use crate::{
    certificate::{CertificateState, CertificateStates},
    facts::{Facts, Listener, TlsVersions, is_ip_literal},
    lookup::{HostOf, Lookups, Tables, TextOf},
    negotiation::{NotNegotiated, Tls},
    port::PortRange,
    rule::{Ja4Pattern, ListenerPattern, SizeRange, TlsStates},
    schedule::Schedule,
    stage::{Fact, FactSet, Stage},
    url::UrlParts,
};

/// What a condition or a rule answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// It does not hold, whatever becomes known.
    False,
    /// It holds, whatever becomes known.
    True,
    /// A fact that it asks about is not known.
    Unknown,
}

impl Truth {
    /// The word used in explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::Unknown => "unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// What a condition answers, and the facts that a True or a False rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) truth: Truth,
    pub(crate) support: FactSet,
}

/// One flow as conditions see it.
pub(crate) struct View<'v, 'f> {
    pub(crate) facts: &'v Facts<'f>,
    pub(crate) known: FactSet,
    pub(crate) tables: &'v Tables,
    pub(crate) looked: &'v mut Lookups,
    pub(crate) negotiation: Option<Tls>,
    pub(crate) has_certificate: bool,
    pub(crate) has_requests: bool,
    /// Whether the certificate stage was reached in vain.
    pub(crate) unavailable: bool,
}

impl<'v, 'f> View<'v, 'f> {
    pub(crate) fn new(facts: &'v Facts<'f>, tables: &'v Tables, looked: &'v mut Lookups) -> Self {
        let known = facts.known();
        let has_certificate = facts.has_certificate();
        Self {
            facts,
            known,
            tables,
            looked,
            negotiation: facts.negotiation(),
            has_certificate,
            has_requests: facts.has_requests(),
            unavailable: has_certificate
                && known.contains(Fact::Certificate)
                && facts.certificate.contains(CertificateState::Unavailable),
        }
    }

    fn knows(&self, facts: FactSet) -> bool {
        facts.without(self.known).is_empty()
    }

    /// Whether a flow whose request stage is reached is HTTP, in the clear or inside TLS.
    const fn has_http(&self) -> bool {
        !self.has_certificate || self.facts.request.inner().has_requests()
    }
}

/// One compiled condition.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) test: Test,
    /// What it asks about.
    pub(crate) fact: Fact,
    /// What an answer rests on.
    pub(crate) support: FactSet,
    /// What must be known for an answer, but for what `applies` rests on.
    needs: FactSet,
    applies: Applies,
}

/// To which flows a condition applies; it is False for all others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Applies {
    Always,
    /// To flows that have, or may get, a certificate of an origin's.
    Certificate,
    /// To flows whose first bytes are a hello.
    Hello,
    /// To flows that are or may be decrypted.
    Inside,
    /// To flows that a CONNECT opened.
    Tunnels,
    /// To flows that have, or may get, requests to judge; of the decrypted ones to those that turn
    /// out to be HTTP.
    Http,
    /// To flows in the clear that are HTTP, and to those that are or may be decrypted.
    Requests,
}

const CONNECT: FactSet = FactSet::of_all(&[
    Fact::Listener,
    Fact::ConnectHost,
    Fact::ConnectPort,
    Fact::ConnectUserAgent,
]);
const TLS: FactSet = FactSet::of(Fact::Tls);
const REQUESTS: FactSet = FactSet::of_all(&[Fact::Tls, Fact::Application]);
/// What it rests on what is spoken inside TLS.
const INNER: FactSet = FactSet::of_all(&[Fact::Inner, Fact::Url]);

impl Applies {
    const fn of(fact: Fact) -> Self {
        match fact {
            Fact::Alpn | Fact::Ech | Fact::Ja4 | Fact::TlsVersion => Self::Hello,
            Fact::Certificate | Fact::ClientCertificate | Fact::Issuer | Fact::TlsVersionChosen => {
                Self::Certificate
            }
            Fact::ConnectHost | Fact::ConnectPort | Fact::ConnectUserAgent | Fact::HostMismatch => {
                Self::Tunnels
            }
            Fact::ContentType
            | Fact::Headers
            | Fact::Method
            | Fact::Size
            | Fact::Url
            | Fact::UserAgent => Self::Http,
            Fact::Inner => Self::Inside,
            Fact::Inspected => Self::Requests,
            _ => Self::Always,
        }
    }

    /// What it rests on whether a condition applies.
    const fn rests_on(self) -> FactSet {
        match self {
            Self::Always => FactSet::EMPTY,
            Self::Certificate | Self::Hello | Self::Inside => TLS,
            Self::Tunnels => CONNECT,
            Self::Http | Self::Requests => REQUESTS,
        }
    }

    /// What the answer rests on besides, once the request stage is reached.
    const fn told_by(self) -> FactSet {
        match self {
            Self::Http | Self::Inside => INNER,
            _ => FactSet::EMPTY,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Alpn {
        names: Box<[Box<[u8]>]>,
        absent: bool,
    },
    Application {
        names: Box<[Box<str>]>,
        absent: bool,
    },
    Certificate(CertificateStates),
    /// Marks of the table of client addresses.
    Client(Box<[u32]>),
    ClientCertificate(bool),
    ConnectHostIsIp(bool),
    ConnectPort(Box<[PortRange]>),
    /// Marks of the table of destinations.
    Destination(Box<[u32]>),
    Ech(bool),
    Group {
        groups: Box<[u32]>,
        absent: bool,
    },
    /// Marks of the table of names.
    Host {
        of: HostOf,
        marks: Box<[u32]>,
        absent: bool,
    },
    HostIsIp(bool),
    HostMismatch(bool),
    Inner {
        names: Box<[Box<str>]>,
        absent: bool,
    },
    Inspected(bool),
    Ja4(Box<[Ja4Pattern]>),
    Listener(Box<[ListenerPattern]>),
    Method(Box<[Box<str>]>),
    /// All of the conditions inside do not hold together.
    Not(Box<[Check]>),
    Port(Box<[PortRange]>),
    Schedule(Box<[Schedule]>),
    Size(Box<[SizeRange]>),
    Text {
        of: TextOf,
        /// Index of the set of regular expressions about the same text.
        set: u32,
        prefixes: Box<[Box<str>]>,
        exact: Box<[Box<str>]>,
        regexes: Box<[u32]>,
        absent: bool,
    },
    Tls(TlsStates),
    TlsVersion(TlsVersions),
    TlsVersionChosen(TlsVersions),
    UrlHostIsIp(bool),
    /// Lists of URLs.
    UrlLists(Box<[u32]>),
    /// Any of the conditions inside, which all ask about the same fact.
    Any(Box<[Check]>),
    User {
        users: Box<[u32]>,
        absent: bool,
    },
}

impl Check {
    pub(crate) fn new(test: Test, fact: Fact, support: FactSet) -> Self {
        let applies = Applies::of(fact);
        Self {
            test,
            fact,
            support: support.union(applies.rests_on()).union(applies.told_by()),
            needs: FactSet::of(fact).union(applies.told_by()),
            applies,
        }
    }

    /// A negation of several conditions.
    pub(crate) fn not(inner: Box<[Self]>) -> Self {
        let support = inner
            .iter()
            .fold(FactSet::EMPTY, |all, check| all.union(check.support));
        Self {
            test: Test::Not(inner),
            fact: Fact::Client,
            support,
            needs: FactSet::EMPTY,
            applies: Applies::Always,
        }
    }

    pub(crate) fn asks(&self, fact: Fact) -> bool {
        match &self.test {
            Test::Not(inner) => inner.iter().any(|check| check.asks(fact)),
            _ => self.fact == fact,
        }
    }

    pub(crate) fn hangs_on(&self, about: FactSet, view: &mut View<'_, '_>) -> bool {
        self.ask(view).truth == Truth::Unknown
            && match &self.test {
                Test::Not(inner) => inner.iter().any(|check| check.hangs_on(about, view)),
                // Whoever it is, a member by address is one.
                Test::Group { groups, .. } => {
                    let member = view.looked.groups(view.tables, view.facts, view.known);
                    about.contains(self.fact) && !meets(groups, member)
                }
                _ => about.contains(self.fact),
            }
    }

    #[inline]
    pub(crate) fn ask(&self, view: &mut View<'_, '_>) -> Answer {
        let answer = |truth| Answer {
            truth,
            support: self.support,
        };
        let applies = match self.applies {
            Applies::Always => true,
            other => {
                if !view.knows(other.rests_on()) {
                    return answer(Truth::Unknown);
                }
                match other {
                    Applies::Certificate | Applies::Inside => view.has_certificate,
                    Applies::Hello => !matches!(
                        view.negotiation,
                        Some(Tls::Not(reason)) if !reason.follows_hello()
                    ),
                    Applies::Tunnels => view.facts.is_tunnel(),
                    _ => view.has_requests,
                }
            }
        };
        if !applies {
            return Answer {
                truth: Truth::False,
                support: self.applies.rests_on(),
            };
        }
        match &self.test {
            Test::Not(inner) => not_all(inner, view),
            Test::Tls(states) => {
                let truth = if view.known.contains(Fact::Tls) {
                    negotiated(*states, view)
                } else {
                    Truth::Unknown
                };
                answer(truth)
            }
            Test::Group { groups, absent } => answer(is_member(groups, *absent, view)),
            Test::Certificate(states) if view.unavailable => {
                answer(if states.contains(CertificateState::Unavailable) {
                    Truth::True
                } else {
                    Truth::Unknown
                })
            }
            _ if !view.knows(self.needs) || self.is_cut_off(view) => answer(Truth::Unknown),
            _ if self.applies == Applies::Http && !view.has_http() => answer(Truth::False),
            _ => answer(self.holds(view).into()),
        }
    }

    /// Whether the fact stays unknown because the certificate stage was reached in vain.
    fn is_cut_off(&self, view: &View<'_, '_>) -> bool {
        view.unavailable
            && (self.fact.stage() == Stage::Request
                || matches!(self.fact, Fact::Issuer | Fact::ClientCertificate))
    }

    /// The answer where the fact is known and applies.
    fn holds(&self, view: &mut View<'_, '_>) -> bool {
        let facts = view.facts;
        let in_ranges = |ranges: &[PortRange], port: Option<u16>| {
            port.is_some_and(|port| ranges.iter().any(|range| range.contains(port)))
        };
        match &self.test {
            Test::Alpn { names, absent } => {
                let named = |name: &[u8]| names.iter().any(|wanted| **wanted == *name);
                (*absent && facts.alpn.is_absent() && facts.is_tls())
                    || facts.alpn.iter().any(named)
            }
            Test::Application { names, absent } => match facts.application {
                Some(application) => names.iter().any(|name| **name == *application),
                None => *absent,
            },
            Test::Certificate(states) => states.meets(facts.certificate),
            Test::Client(marks) => meets(marks, view.looked.client(view.tables, facts)),
            Test::ClientCertificate(expected) => facts.client_certificate == Some(*expected),
            Test::ConnectHostIsIp(expected) => {
                let host = facts.connect.and_then(|connect| connect.host);
                host.is_some_and(|host| is_ip_literal(host) == *expected)
            }
            Test::ConnectPort(ranges) => {
                in_ranges(ranges, facts.connect.and_then(|connect| connect.port))
            }
            Test::Destination(marks) => meets(marks, view.looked.destination(view.tables, facts)),
            Test::Ech(offered) => facts.ech == Some(*offered),
            Test::Host { of, marks, absent } => match of.get(facts) {
                Some(host) => meets(marks, view.looked.host(view.tables, *of, host)),
                None => *absent,
            },
            Test::HostIsIp(expected) => facts.is_addressed_by_ip() == *expected,
            Test::HostMismatch(expected) => facts.has_host_mismatch() == *expected,
            Test::Inner { names, absent } => match facts.request.inner().name() {
                Some(inner) => names.iter().any(|name| **name == *inner),
                None => *absent,
            },
            Test::Inspected(expected) => {
                facts.request.inspected.unwrap_or_else(|| facts.is_tls()) == *expected
            }
            Test::Ja4(patterns) => facts.ja4.is_some_and(|ja4| {
                patterns.iter().any(|pattern| match pattern {
                    Ja4Pattern::Exact(whole) => whole == ja4,
                    Ja4Pattern::Prefix(start) => ja4.starts_with(start.as_str()),
                })
            }),
            Test::Listener(patterns) => facts.listener.is_some_and(|listener| {
                patterns.iter().any(|pattern| match (pattern, listener) {
                    (ListenerPattern::Transparent, Listener::Transparent)
                    | (ListenerPattern::Proxy, Listener::Proxy(_)) => true,
                    (ListenerPattern::Named(wanted), Listener::Proxy(name)) => wanted == name,
                    _ => false,
                })
            }),
            Test::Method(methods) => facts.request.method.is_some_and(|method| {
                methods
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(method))
            }),
            Test::Port(ranges) => in_ranges(ranges, facts.port),
            Test::Schedule(schedules) => facts
                .time
                .is_some_and(|time| schedules.iter().any(|schedule| schedule.contains(time))),
            Test::Size(ranges) => facts.request.size.is_some_and(|size| {
                ranges
                    .iter()
                    .any(|range| (range.least..=range.most).contains(&size))
            }),
            Test::Text {
                of,
                set,
                prefixes,
                exact,
                regexes,
                absent,
            } => match view.tables.text(*of, facts) {
                None => *absent,
                Some(text) => {
                    prefixes.iter().any(|prefix| text.starts_with(&**prefix))
                        || exact.iter().any(|whole| **whole == *text)
                        || (!regexes.is_empty()
                            && view.looked.regexes(view.tables, *set, text, regexes))
                }
            },
            Test::TlsVersion(versions) => versions.meets(facts.tls_versions),
            Test::TlsVersionChosen(versions) => {
                versions.meets(TlsVersions::of(facts.tls_version_chosen))
            }
            Test::UrlHostIsIp(expected) => facts.request.url.is_some_and(|url| {
                let host = UrlParts::split(url).host;
                (is_ip_literal(host) || host.parse::<IpAddr>().is_ok()) == *expected
            }),
            Test::UrlLists(lists) => facts
                .request
                .url
                .is_some_and(|url| meets(lists, view.looked.urls(view.tables, url))),
            Test::User { users, absent } => match facts.user {
                Some(_) => view
                    .looked
                    .user(view.tables, facts)
                    .is_some_and(|user| users.contains(&user)),
                None => *absent,
            },
            Test::Any(inner) => inner.iter().any(|check| check.holds(view)),
            Test::Not(_) | Test::Tls(_) | Test::Group { .. } => false,
        }
    }

    /// The earliest stage that makes known what an Unknown hangs on; `None` where none does.
    pub(crate) fn unknown_stage(&self, view: &mut View<'_, '_>) -> Option<Stage> {
        if view.unavailable || self.ask(view).truth != Truth::Unknown {
            return None;
        }
        let stage = match &self.test {
            Test::Not(inner) => {
                return inner
                    .iter()
                    .filter_map(|check| check.unknown_stage(view))
                    .min();
            }
            Test::Tls(states) if view.known.contains(Fact::Tls) => {
                let by_answer = states.negotiated
                    || states
                        .reasons()
                        .any(|reason| reason.stage() == Stage::ServerHello);
                if by_answer && view.facts.stage < Stage::ServerHello {
                    Stage::ServerHello
                } else {
                    Stage::Certificate
                }
            }
            _ => self.fact.stage(),
        };
        (stage > view.facts.stage).then_some(stage)
    }
}

fn not_all(inner: &[Check], view: &mut View<'_, '_>) -> Answer {
    let mut truth = Truth::False;
    let mut support = FactSet::EMPTY;
    for check in inner {
        let answer = check.ask(view);
        match answer.truth {
            Truth::True => support = support.union(answer.support),
            Truth::False => {
                return Answer {
                    truth: Truth::True,
                    support: answer.support,
                };
            }
            Truth::Unknown => truth = Truth::Unknown,
        }
    }
    Answer { truth, support }
}

/// What a condition on the negotiation answers where the client's first bytes are known: of what
/// may still come out all, none or some meet it.
fn negotiated(states: TlsStates, view: &View<'_, '_>) -> Truth {
    let stage = view.facts.stage;
    let meets = |reason: NotNegotiated| {
        states.contains(reason) || (states.negotiated && reason.stage() == Stage::Certificate)
    };
    let (clean, from) = match view.negotiation {
        None => return Truth::False,
        Some(Tls::Not(reason)) => return meets(reason).into(),
        Some(Tls::Hello) => (states.negotiated, Stage::ServerHello),
        // A handshake of our own that could not be made has shown nothing.
        Some(Tls::Negotiated) if stage < Stage::Certificate || view.unavailable => {
            (states.negotiated, Stage::Certificate)
        }
        Some(Tls::Negotiated) => return states.negotiated.into(),
    };
    let mut later = NotNegotiated::ALL
        .into_iter()
        .filter(|reason| reason.stage() >= from)
        .map(meets);
    if later.all(|meets| meets == clean) {
        clean.into()
    } else {
        Truth::Unknown
    }
}

/// Membership is certain as soon as one way into a group is known to be taken.
fn is_member(groups: &[u32], absent: bool, view: &mut View<'_, '_>) -> Truth {
    if !view.known.contains(Fact::Groups) {
        return Truth::Unknown;
    }
    let all_known = view.knows(view.tables.group_facts);
    let member = view.looked.groups(view.tables, view.facts, view.known);
    if meets(groups, member) {
        Truth::True
    } else if !all_known {
        Truth::Unknown
    } else {
        (absent && member.is_empty()).into()
    }
}

/// Whether two small sets have a member in common.
#[inline]
fn meets(wanted: &[u32], found: &[u32]) -> bool {
    match wanted {
        [one] => found.contains(one),
        _ => found.iter().any(|mark| wanted.binary_search(mark).is_ok()),
    }
}
