//! Small worlds: few words, so that rules and flows meet often.
//!
//! Rules and flows are read off tapes of bytes, one tape a rule, so that a counterexample shrinks
//! to few rules and to the first of every choice.

use std::sync::{Arc, LazyLock};

use jiff::{civil::Weekday, tz::TimeZone};
use sluice_policy::{
    Action, AddressItem, Alpn, BlockKind, CertificateState, CertificateStates, Condition, Connect,
    DefaultAction, Defaults, DomainListBuilder, Fact, FactSet, Facts, Group, GroupId, HostItem,
    Inner, Ja4Pattern, List, ListData, ListId, Listener, ListenerPattern, NotNegotiated, PortRange,
    Request, Rule, RuleBody, RuleSet, Schedule, ScheduleId, SizeRange, Stage, TextPattern,
    TimeRange, Tls, TlsStates, TlsVersion, TlsVersions, UrlItem, User, Weekdays,
};

/// Choices, one byte each; behind the end every choice is the first.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn pick(&mut self, choices: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(first) % choices
    }

    fn one<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.pick(choices.len())]
    }

    /// One choice, and a second one now and then.
    fn some<T: Copy>(&mut self, choices: &[T]) -> Vec<T> {
        let first = self.one(choices);
        if self.pick(4) == 3 {
            vec![first, self.one(choices)]
        } else {
            vec![first]
        }
    }

    fn yes(&mut self) -> bool {
        self.pick(2) == 0
    }
}

/// The flow as it is known at each stage.
pub(crate) fn stages<'a>(flow: &Facts<'a>) -> [Facts<'a>; 6] {
    Stage::ALL.map(|stage| Facts { stage, ..*flow })
}

/// One of the flows with the values that another has for some facts.
pub(crate) fn mixed(
    flow: &Facts<'static>,
    other: &Facts<'static>,
    facts: FactSet,
) -> Facts<'static> {
    let mut mixed = *flow;
    let theirs = other.connect.unwrap_or_default();
    let mut connect = flow.connect.unwrap_or_default();
    for fact in facts.iter() {
        match fact {
            Fact::Alpn => mixed.alpn = other.alpn,
            Fact::Application => mixed.application = other.application,
            Fact::Certificate => mixed.certificate = other.certificate,
            Fact::Client => mixed.client = other.client,
            Fact::ClientCertificate => mixed.client_certificate = other.client_certificate,
            Fact::ConnectHost => connect.host = theirs.host,
            Fact::ConnectPort => connect.port = theirs.port,
            Fact::ConnectUserAgent => connect.user_agent = theirs.user_agent,
            Fact::ContentType => mixed.request.content_type = other.request.content_type,
            Fact::Destination => mixed.destination = other.destination,
            Fact::Ech => mixed.ech = other.ech,
            Fact::Groups => mixed.groups = other.groups,
            Fact::Headers => mixed.request.headers = other.request.headers,
            Fact::Host => mixed.host = other.host,
            Fact::HostIsIp => mixed.host_is_ip = other.host_is_ip,
            Fact::HostMismatch => mixed.host_mismatch = other.host_mismatch,
            Fact::Inner => mixed.request.inner = other.request.inner,
            Fact::Inspected => mixed.request.inspected = other.request.inspected,
            Fact::Issuer => mixed.issuer = other.issuer,
            Fact::Ja4 => mixed.ja4 = other.ja4,
            Fact::Listener => mixed.listener = other.listener,
            Fact::Method => mixed.request.method = other.request.method,
            Fact::Port => mixed.port = other.port,
            Fact::Size => mixed.request.size = other.request.size,
            Fact::Time => mixed.time = other.time,
            Fact::Tls => mixed.tls = other.tls,
            Fact::TlsVersion => mixed.tls_versions = other.tls_versions,
            Fact::TlsVersionChosen => mixed.tls_version_chosen = other.tls_version_chosen,
            Fact::Url => mixed.request.url = other.request.url,
            Fact::User => mixed.user = other.user,
            Fact::UserAgent => mixed.request.user_agent = other.request.user_agent,
        }
    }
    mixed.connect = mixed.connect.map(|_| connect);
    mixed
}

const ADDRESSES: [&str; 4] = ["10.1.2.3", "10.1.9.9", "2001:db8:1::1", "192.0.2.77"];
const NETS: [&str; 5] = [
    "10.1.0.0/16",
    "10.1.2.3",
    "2001:db8::/32",
    "192.0.2.0/24",
    "0.0.0.0/0",
];
const HOSTS: [&str; 6] = [
    "a.example",
    "X.a.example.",
    "b.example",
    "c.example",
    "d.c.example",
    "192.0.2.9",
];
const PATTERNS: [&str; 5] = [
    ".a.example",
    "*.a.example",
    "b.example",
    "x.a.example",
    "c.example",
];
const AGENTS: [&str; 3] = ["curl/8", "Skype", "Mozilla/5.0"];
const URLS: [&str; 5] = [
    "https://a.example/upload",
    "https://x.a.example:8443/x?y",
    "http://b.example/",
    "http://192.0.2.9/upload/more",
    "https://d.c.example/x",
];

const ADDRESS_LIST: ListId = ListId(0);
const DOMAIN_LISTS: [ListId; 2] = [ListId(1), ListId(2)];
const URL_LIST: ListId = ListId(3);

static LISTS: LazyLock<Vec<List>> = LazyLock::new(|| {
    let domains = |names: &[&str]| {
        let mut builder = DomainListBuilder::default();
        for name in names {
            builder.add(name).unwrap();
        }
        ListData::Domains(Arc::new(builder.finish()))
    };
    let nets = ["10.1.9.9", "2001:db8:1::/48"].map(|net| net.parse().unwrap());
    let urls = [
        "a.example/up",
        "https://.c.example",
        "x.a.example:8443",
        "http://b.example/x",
    ]
    .map(|url| url.parse().unwrap());
    let list = |name: &str, data| List {
        name: name.into(),
        data,
    };
    vec![
        list("addresses", ListData::Addresses(nets.into())),
        list("domains", domains(&[".a.example", "b.example"])),
        list("more domains", domains(&["*.c.example", "x.a.example"])),
        list("urls", ListData::Urls(urls.into())),
    ]
});

static SCHEDULES: LazyLock<Vec<Schedule>> = LazyLock::new(|| {
    let schedule = |name: &str, days, times| Schedule {
        name: name.into(),
        days,
        times,
        dates: Vec::new(),
        zone: TimeZone::UTC,
    };
    vec![
        schedule("mondays", Weekdays::of([Weekday::Monday]), Vec::new()),
        schedule(
            "mornings",
            Weekdays::ALL,
            vec![TimeRange { from: 0, to: 720 }],
        ),
    ]
});

/// Rules read off tapes of bytes, one tape a rule.
pub(crate) fn rule_set<T: AsRef<[u8]>>(defaults: &[u8], rules: &[T]) -> RuleSet {
    let mut tape = Tape(defaults);
    let mut default = || {
        tape.one(&[
            DefaultAction::Allow,
            DefaultAction::Block(BlockKind::Alert),
            DefaultAction::Block(BlockKind::Page),
        ])
    };
    let defaults = Defaults {
        identified: default(),
        unidentified: default(),
    };
    let user = |name: &str, nets: &[&str]| User {
        name: name.into(),
        nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let group = |name: &str, nets: &[&str], users: &[&str], groups: &[usize]| Group {
        name: name.into(),
        nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
        users: users.iter().map(|&user| user.into()).collect(),
        groups: groups.iter().map(|&group| GroupId(group)).collect(),
    };
    let mut tapes = rules
        .iter()
        .map(|rule| Tape(rule.as_ref()))
        .collect::<Vec<_>>()
        .into_iter();
    RuleSet {
        defaults,
        users: vec![
            user("alice", &["10.1.2.0/24"]),
            user("bob", &["10.1.2.3", "2001:db8:1::1"]),
        ],
        groups: vec![
            group("staff", &["192.0.2.0/24"], &["bob"], &[]),
            group("everybody", &[], &["alice"], &[0]),
            group("outsiders", &[], &["carol"], &[]),
        ],
        lists: LISTS.clone(),
        schedules: SCHEDULES.clone(),
        rules: tree(&mut tapes, 0).0,
    }
}

/// Rules of one container; whether the container around it ends there too.
fn tree<'a>(tapes: &mut impl Iterator<Item = Tape<'a>>, depth: usize) -> (Vec<Rule>, usize) {
    let mut rules = Vec::new();
    while let Some(mut tape) = tapes.next() {
        let shape = tape.pick(8);
        let action = action(&mut tape, depth > 0);
        let (when, unless) = guard(&mut tape);
        let mut rule = Rule {
            name: String::new(),
            when,
            unless,
            tags: Vec::new(),
            body: RuleBody::Contain(Vec::new()),
        };
        if shape == 7 && depth < 2 {
            let (inner, ends) = tree(tapes, depth + 1);
            rule.body = RuleBody::Contain(inner);
            rules.push(rule);
            if ends > 0 {
                return (rules, ends - 1);
            }
            continue;
        }
        let weak = matches!(action, Action::Allow | Action::Block(_)) && tape.pick(4) == 3;
        rule.body = RuleBody::Act {
            action,
            last: !weak,
            message: None,
        };
        rules.push(rule);
        if depth > 0 && shape >= 5 {
            return (rules, usize::from(shape == 6 && depth > 1));
        }
    }
    (rules, 0)
}

fn action(tape: &mut Tape<'_>, inside: bool) -> Action {
    match tape.pick(if inside { 16 } else { 13 }) {
        0 | 1 => Action::Block(BlockKind::Page),
        2 => Action::Block(BlockKind::Alert),
        3 => Action::Block(BlockKind::Reset),
        4 | 5 => Action::Allow,
        6 | 7 => Action::Splice,
        8 | 9 => Action::Inspect,
        10 => Action::Warn(60),
        11 => Action::Tag("seen".into()),
        12 => Action::NoLog,
        _ => Action::Skip,
    }
}

fn guard(tape: &mut Tape<'_>) -> (Vec<Condition>, Vec<Condition>) {
    let (whens, unlesses) = [
        (1, 0),
        (0, 0),
        (2, 0),
        (1, 1),
        (0, 1),
        (1, 2),
        (3, 0),
        (2, 1),
    ][tape.pick(8)];
    let mut conditions = |count| (0..count).map(|_| condition(tape, true)).collect();
    (conditions(whens), conditions(unlesses))
}

fn text(tape: &mut Tape<'_>, exact: &[&str], prefix: &str, regex: &str) -> TextPattern {
    match tape.pick(exact.len() + 2) {
        0 => TextPattern::Prefix(prefix.into()),
        1 if tape.pick(4) == 0 => TextPattern::regex(regex).unwrap(),
        1 => TextPattern::Exact(exact[0].into()),
        other => TextPattern::Exact(exact[other - 2].into()),
    }
}

/// A value, or that there is none, or either.
fn absent_or<T>(tape: &mut Tape<'_>, mut value: impl FnMut(&mut Tape<'_>) -> T) -> Vec<Option<T>> {
    match tape.pick(5) {
        0 | 1 => vec![Some(value(tape))],
        2 => vec![None],
        3 => vec![None, Some(value(tape))],
        _ => vec![Some(value(tape)), Some(value(tape))],
    }
}

fn host_item(tape: &mut Tape<'_>) -> HostItem {
    if tape.yes() {
        HostItem::Pattern(tape.one(&PATTERNS).parse().unwrap())
    } else {
        HostItem::List(tape.one(&DOMAIN_LISTS))
    }
}

fn addresses(tape: &mut Tape<'_>) -> Vec<AddressItem> {
    let items = tape.some(&[0, 1, 2, 3, 4, 5]);
    let item = |item: usize| match NETS.get(item) {
        Some(net) => AddressItem::Net(net.parse().unwrap()),
        None => AddressItem::List(ADDRESS_LIST),
    };
    items.into_iter().map(item).collect()
}

fn ports(tape: &mut Tape<'_>) -> Vec<PortRange> {
    tape.some(&[(443, 443), (80, 443), (1024, 65535)])
        .into_iter()
        .map(|(first, last)| PortRange::new(first, last).unwrap())
        .collect()
}

fn tls_states(tape: &mut Tape<'_>) -> TlsStates {
    match tape.pick(8) {
        0 | 1 => TlsStates::not_negotiated(),
        2 => TlsStates::not_negotiated_by_probe(),
        3 => TlsStates::NEGOTIATED,
        4 => TlsStates::NEGOTIATED.union(TlsStates::of(tape.some(&NotNegotiated::ALL))),
        5 => TlsStates::of([
            NotNegotiated::InconsistentServerHello,
            NotNegotiated::NoCommonCipher,
            NotNegotiated::NoCommonVersion,
            NotNegotiated::OriginClosed,
        ])
        .union(TlsStates::of(tape.some(&NotNegotiated::ALL))),
        _ => TlsStates::of(tape.some(&NotNegotiated::ALL)),
    }
}

fn condition(tape: &mut Tape<'_>, outermost: bool) -> Condition {
    use CertificateState::{Expired, SelfSigned, Unavailable, Untrusted, Valid};
    match tape.pick(50) {
        0..=2 => Condition::Host(absent_or(tape, host_item)),
        3..=6 => Condition::Tls(tls_states(tape)),
        7..=9 => Condition::Certificate(CertificateStates::of(tape.some(&[
            Expired,
            Untrusted,
            SelfSigned,
            Valid,
            Unavailable,
        ]))),
        10 | 11 => Condition::Group(absent_or(tape, |tape| GroupId(tape.pick(3)))),
        12 | 13 => Condition::User(absent_or(tape, |tape| {
            tape.one(&["alice", "bob", "carol"]).into()
        })),
        14 => Condition::Client(addresses(tape)),
        15 => Condition::Destination(addresses(tape)),
        16 => Condition::Port(ports(tape)),
        17 => Condition::Listener(tape.some(&[0, 1, 2]).into_iter().map(listener).collect()),
        18 => Condition::Schedule(tape.some(&[ScheduleId(0), ScheduleId(1)])),
        19 => Condition::Alpn(absent_or(tape, |tape| {
            tape.one(&["h2", "http/1.1"]).as_bytes().to_vec()
        })),
        20 | 21 => {
            Condition::Application(absent_or(tape, |tape| tape.one(&["http", "ssh"]).into()))
        }
        22 => Condition::ClientCertificate(tape.yes()),
        23 if tape.yes() => Condition::ConnectHostIsIp(tape.yes()),
        23 => Condition::ConnectHost(absent_or(tape, host_item)),
        24 => Condition::ConnectPort(ports(tape)),
        25 => Condition::ConnectUserAgent(absent_or(tape, |tape| {
            text(tape, &AGENTS, "cur", "^S.*e$")
        })),
        26 => Condition::ContentType(absent_or(tape, |tape| {
            text(tape, &["text/html", "image/png"], "image/", "^t")
        })),
        27 => Condition::Ech(tape.yes()),
        28 => Condition::Header {
            name: tape.one(&["x-id", "referer"]).into(),
            values: absent_or(tape, |tape| text(tape, &["1", "2"], "1", "[12]")),
        },
        29 => Condition::HostIsIp(tape.yes()),
        30 => Condition::HostMismatch(tape.yes()),
        31 => Condition::Inspected(tape.yes()),
        32 => Condition::Issuer(absent_or(tape, |tape| {
            text(tape, &["CN=Good", "CN=Bad"], "CN=G", "Bad$")
        })),
        33 => Condition::Ja4(vec![if tape.yes() {
            Ja4Pattern::Prefix("t13d".into())
        } else {
            Ja4Pattern::Exact("t12d_aa".into())
        }]),
        34 => Condition::Method(vec![tape.one(&["GET", "POST"]).into()]),
        35 | 36 => Condition::Path(vec![text(tape, &["/upload", "/x?y"], "/up", "load$")]),
        37 => Condition::Size(vec![SizeRange {
            least: 10,
            most: tape.one(&[100, 2000]),
        }]),
        38 => Condition::TlsVersion(TlsVersions::of(
            tape.some(&[TlsVersion::Tls12, TlsVersion::Tls13]),
        )),
        39 => Condition::TlsVersionChosen(TlsVersions::of(
            tape.some(&[TlsVersion::Tls12, TlsVersion::Tls13]),
        )),
        40 => Condition::Url(vec![if tape.yes() {
            UrlItem::List(URL_LIST)
        } else {
            UrlItem::Pattern(text(tape, &URLS, "https://a.", "/x"))
        }]),
        41 => Condition::UrlHost(vec![host_item(tape)]),
        42 => Condition::UrlHostIsIp(tape.yes()),
        43 => Condition::UserAgent(absent_or(tape, |tape| text(tape, &AGENTS, "Moz", "^S"))),
        44 | 45 => Condition::Inner(absent_or(tape, |tape| {
            tape.one(&["http", "websocket", "ssh"]).into()
        })),
        _ if outermost => {
            let count = tape.one(&[1, 2]);
            Condition::Not((0..count).map(|_| condition(tape, false)).collect())
        }
        _ => Condition::Host(vec![Some(host_item(tape))]),
    }
}

fn listener(kind: usize) -> ListenerPattern {
    match kind {
        0 => ListenerPattern::Transparent,
        1 => ListenerPattern::Proxy,
        _ => ListenerPattern::Named("explicit".into()),
    }
}

/// A whole flow, as it is known in the end, read off a tape of bytes.
pub(crate) fn flow(bytes: &[u8]) -> Facts<'static> {
    use NotNegotiated as Not;
    let tape = &mut Tape(bytes);
    let mut facts = Facts::packet(
        tape.one(&ADDRESSES).parse().unwrap(),
        tape.one(&ADDRESSES).parse().unwrap(),
        tape.one(&[443, 80, 8443]),
    );
    facts.stage = Stage::Request;
    facts.user = tape.one(&[None, None, Some("alice"), Some("bob"), Some("carol")]);
    static GROUPS: LazyLock<[Vec<Box<str>>; 4]> = LazyLock::new(|| {
        [&[][..], &[], &["staff"], &["outsiders", "staff"]]
            .map(|names| names.iter().map(|&name| name.into()).collect())
    });
    let [a, b, c, d] = &*GROUPS;
    facts.groups = tape.one(&[a, b, c, d]);
    // A Monday at ten, and the Saturday after at one in the afternoon.
    facts.time = Some(tape.one(&[1_772_445_600, 1_772_888_400]));
    facts.listener = Some(tape.one(&[
        Listener::Transparent,
        Listener::Proxy("explicit"),
        Listener::Proxy("other"),
    ]));
    let connect = Connect {
        host: tape.one(&[Some(HOSTS[0]), Some(HOSTS[2]), Some(HOSTS[5]), None]),
        port: tape.one(&[Some(443), Some(8443), None]),
        user_agent: tape.one(&[None, Some(AGENTS[0]), Some(AGENTS[1])]),
    };
    // Without one, the flow is requests that name their URL.
    facts.connect = (facts.is_proxied() && tape.one(&[true, true, false])).then_some(connect);
    facts.host = tape.one(&[
        Some(HOSTS[0]),
        Some(HOSTS[1]),
        Some(HOSTS[2]),
        Some(HOSTS[3]),
        Some(HOSTS[4]),
        Some(HOSTS[5]),
        None,
    ]);
    facts.tls = Some(match tape.pick(16) {
        0..=6 => Tls::Negotiated,
        7 => Tls::Hello,
        8 => Tls::Not(tape.one(&[Not::OriginHandshakeFailed, Not::ClientCertificateRequired])),
        9 | 10 => Tls::Not(tape.one(&[
            Not::OriginClosed,
            Not::NoCommonCipher,
            Not::NoCommonVersion,
            Not::InconsistentServerHello,
        ])),
        11 => Tls::Not(Not::ClientRejectedCa),
        12 | 13 => Tls::Not(Not::NotTls),
        _ => Tls::Not(tape.one(&[
            Not::Sslv2Hello,
            Not::MalformedHello,
            Not::Silent,
            Not::Timeout,
        ])),
    });
    if facts.tls == Some(Tls::Not(Not::NotTls)) {
        facts.application = tape.one(&[Some("http"), Some("http"), Some("ssh"), None]);
    } else if tape.pick(16) == 15 {
        facts.tls = None;
    }
    // What does not apply is there nevertheless now and then, and must not matter.
    if facts.is_tls() || tape.pick(4) == 3 {
        let alpn: [Alpn<'static>; 3] = [
            Alpn::ABSENT,
            Alpn::from_wire(b"\x02h2\x08http/1.1"),
            Alpn::from_wire(b"\x08http/1.1"),
        ];
        facts.alpn = tape.one(&alpn);
        facts.ja4 = tape.one(&[Some("t13d_aa"), Some("t12d_aa"), None]);
        facts.ech = Some(!tape.yes());
        facts.tls_versions = TlsVersions::of(tape.some(&[TlsVersion::Tls13, TlsVersion::Tls12]));
    }
    let certifies = matches!(
        facts.tls,
        Some(
            Tls::Hello
                | Tls::Negotiated
                | Tls::Not(
                    Not::ClientRejectedCa
                        | Not::OriginHandshakeFailed
                        | Not::ClientCertificateRequired
                )
        )
    );
    if certifies || tape.pick(4) == 3 {
        use CertificateState as State;
        facts.tls_version_chosen =
            tape.one(&[Some(TlsVersion::Tls13), Some(TlsVersion::Tls12), None]);
        facts.certificate = CertificateStates::of(match tape.pick(8) {
            0..=3 => vec![State::Valid],
            4 => vec![State::Expired],
            5 => vec![State::Untrusted, State::SelfSigned],
            _ => vec![State::Unavailable],
        });
        facts.issuer = tape.one(&[Some("CN=Good"), Some("CN=Bad"), None]);
        facts.client_certificate = Some(!tape.yes());
    }
    let headers: [&[(&str, &str)]; 3] = [
        &[],
        &[("x-id", "1"), ("user-agent", AGENTS[1])],
        &[
            ("content-type", "image/png"),
            ("x-id", "2"),
            ("referer", "1"),
        ],
    ];
    facts.request = Request {
        inner: None,
        inspected: None,
        url: Some(tape.one(&URLS)),
        method: Some(tape.one(&["GET", "POST"])),
        headers: tape.one(&headers),
        user_agent: tape.one(&[None, Some(AGENTS[2])]),
        content_type: tape.one(&[None, Some("text/html")]),
        size: tape.one(&[None, Some(50), Some(1000)]),
    };
    // What somebody says that it is counts, whatever else is there.
    facts.request.inner = tape.one(&[
        None,
        None,
        None,
        Some(Inner::Http),
        Some(Inner::WebSocket),
        Some(Inner::Application("ssh")),
        Some(Inner::Unrecognised),
    ]);
    if tape.pick(6) == 5 {
        facts.request.url = None;
    }
    facts
}
