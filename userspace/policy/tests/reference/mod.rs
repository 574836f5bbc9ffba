//! The slow and obvious reading of the rules: what the engine is held against.
//!
//! It is written from the words of the semantics and shares nothing with the engine but the types.
//! `None` stands for Unknown.

use sluice_policy::{
    Action, AddressItem, CertificateState, Condition, DefaultAction, Facts, HostItem, HostPattern,
    Inner, Ja4Pattern, ListData, ListId, Listener, ListenerPattern, NotNegotiated, Outcome,
    Outcomes, Rule, RuleBody, RuleSet, Stage, TextPattern, Tls, TlsStates, UrlEntry, UrlItem,
    UrlParts,
};

pub(crate) mod worlds;

/// True, False, or Unknown.
pub(crate) type Truth = Option<bool>;

fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let truths: Vec<_> = truths.collect();
    if truths.contains(&Some(true)) {
        Some(true)
    } else if truths.contains(&None) {
        None
    } else {
        Some(false)
    }
}

fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    any(truths.map(|truth| truth.map(|holds| !holds))).map(|holds| !holds)
}

/// One acting rule with everything that it hangs on.
struct Leaf<'a> {
    /// Conditions of the rule and of the containers around it.
    when: Vec<&'a Condition>,
    unless: Vec<&'a Condition>,
    action: &'a Action,
    last: bool,
    /// Where `skip` leads: the number of the first rule behind the container.
    behind: usize,
}

/// The acting rules, in order.
fn leaves(set: &RuleSet) -> Vec<Leaf<'_>> {
    fn add<'a>(
        rules: &'a [Rule],
        when: &[&'a Condition],
        unless: &[&'a Condition],
        leaves: &mut Vec<Leaf<'a>>,
    ) {
        let first = leaves.len();
        let mut own = Vec::new();
        for rule in rules {
            let when: Vec<_> = when.iter().copied().chain(&rule.when).collect();
            let unless: Vec<_> = unless.iter().copied().chain(&rule.unless).collect();
            match &rule.body {
                RuleBody::Act { action, last, .. } => {
                    own.push(leaves.len());
                    leaves.push(Leaf {
                        when,
                        unless,
                        action,
                        last: *last,
                        behind: first,
                    });
                }
                RuleBody::Contain(inner) => add(inner, &when, &unless, leaves),
            }
        }
        let behind = leaves.len();
        for index in own {
            leaves[index].behind = behind;
        }
    }
    let mut leaves = Vec::new();
    add(&set.rules, &[], &[], &mut leaves);
    leaves
}

/// What every acting rule answers, in order.
pub(crate) fn truths(set: &RuleSet, facts: &Facts<'_>) -> Vec<Truth> {
    leaves(set)
        .iter()
        .map(|leaf| holds(set, facts, leaf))
        .collect()
}

fn holds(set: &RuleSet, facts: &Facts<'_>, leaf: &Leaf<'_>) -> Truth {
    let when = all(leaf.when.iter().map(|c| condition(set, facts, c)));
    let unless = any(leaf.unless.iter().map(|c| condition(set, facts, c)));
    all([when, unless.map(|holds| !holds)].into_iter())
}

/// The walk, where it is settled which rules hold.
fn walk(set: &RuleSet, leaves: &[Leaf<'_>], holds: &[bool], identified: bool) -> Outcome {
    enum Disposition {
        None,
        Allow,
        Block(Outcome),
        Splice,
    }
    let (mut disposition, mut inspect, mut warn) = (Disposition::None, false, false);
    let mut at = 0;
    while let Some(leaf) = leaves.get(at) {
        let fires = holds[at];
        at += 1;
        if !fires {
            continue;
        }
        match leaf.action {
            Action::Allow => disposition = Disposition::Allow,
            Action::Block(kind) => disposition = Disposition::Block(Outcome::Block(*kind)),
            Action::Splice => {
                disposition = Disposition::Splice;
                break;
            }
            Action::Inspect => inspect = true,
            Action::Warn(_) => warn = true,
            Action::Skip => at = leaf.behind,
            Action::Tag(_) | Action::NoLog => {}
        }
        if matches!(leaf.action, Action::Allow | Action::Block(_)) && leaf.last {
            break;
        }
    }
    if matches!(disposition, Disposition::None) {
        let default = if identified {
            set.defaults.identified
        } else {
            set.defaults.unidentified
        };
        disposition = match default {
            DefaultAction::Allow => Disposition::Allow,
            DefaultAction::Block(kind) => Disposition::Block(Outcome::Block(kind)),
        };
    }
    match (disposition, inspect, warn) {
        (Disposition::Block(outcome), ..) => outcome,
        (Disposition::Splice, _, false) => Outcome::Splice,
        (Disposition::Splice, _, true) | (_, false, true) => Outcome::Warn,
        (_, true, true) => Outcome::WarnDecrypted,
        (_, true, false) => Outcome::AllowDecrypted,
        (_, false, false) => Outcome::Allow,
    }
}

/// What may come out, and which stage tells more.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) possible: Outcomes,
    pub(crate) next: Option<Stage>,
    /// The first rule that matters and of which that stage tells more.
    pub(crate) first: Option<usize>,
}

/// Lets every Unknown rule hold or not, each freely, and looks at what comes out.
pub(crate) fn read(set: &RuleSet, facts: &Facts<'_>) -> Reading {
    let leaves = leaves(set);
    let truths: Vec<_> = leaves.iter().map(|leaf| holds(set, facts, leaf)).collect();
    let unknown: Vec<usize> = (0..leaves.len()).filter(|&i| truths[i].is_none()).collect();
    let identified = facts.is_identified();
    // One choice more, where nobody knows yet which default stands for the flow.
    let choices = unknown.len() + usize::from(identified.is_none());
    let outcomes: Vec<Outcome> = (0..1usize << choices)
        .map(|way| {
            let mut holds: Vec<bool> = truths.iter().map(|truth| *truth == Some(true)).collect();
            for (bit, &rule) in unknown.iter().enumerate() {
                holds[rule] = way >> bit & 1 == 1;
            }
            let identified = identified.unwrap_or(way >> unknown.len() & 1 == 1);
            walk(set, &leaves, &holds, identified)
        })
        .collect();
    let possible = outcomes
        .iter()
        .fold(Outcomes::EMPTY, |all, &one| all.union(Outcomes::of(one)));

    let matters =
        |bit: usize| (0..outcomes.len()).any(|way| outcomes[way] != outcomes[way ^ 1 << bit]);
    let mut stages = Vec::new();
    for (bit, &rule) in unknown.iter().enumerate() {
        if matters(bit) {
            let mut tells = Vec::new();
            unknown_stages(set, facts, &leaves[rule].when, &mut tells);
            unknown_stages(set, facts, &leaves[rule].unless, &mut tells);
            tells.retain(|&stage| stage > facts.stage);
            stages.extend(tells.into_iter().min().map(|stage| (stage, Some(rule))));
        }
    }
    if identified.is_none() && matters(unknown.len()) {
        stages.push((Stage::Hello, None));
    }
    stages.retain(|&(stage, _)| stage > facts.stage);
    let next = stages.iter().map(|&(stage, _)| stage).min();
    // A probe that could not be made is not made again, and nothing is decrypted without it.
    let next = next.filter(|_| !is_unavailable(facts));
    let first = stages.iter().filter(|&&(stage, _)| Some(stage) == next);
    let first = first.filter_map(|&(_, rule)| rule).min();
    Reading {
        possible,
        next,
        first,
    }
}

fn unknown_stages(
    set: &RuleSet,
    facts: &Facts<'_>,
    conditions: &[&Condition],
    stages: &mut Vec<Stage>,
) {
    for &one in conditions {
        if condition(set, facts, one).is_some() {
            continue;
        }
        match one {
            Condition::Not(inner) => {
                let inner: Vec<_> = inner.iter().collect();
                unknown_stages(set, facts, &inner, stages);
            }
            Condition::Tls(states) => stages.push(tls_stage(*states, facts)),
            other => stages.extend(other.fact().map(|fact| fact.stage())),
        }
    }
}

/// The stage that tells more of the negotiation.
fn tls_stage(states: TlsStates, facts: &Facts<'_>) -> Stage {
    if facts.stage < Stage::Hello {
        return Stage::Hello;
    }
    let answers: Vec<bool> = at_stage(Stage::ServerHello)
        .map(|reason| states.contains(reason))
        .chain([states.negotiated])
        .collect();
    let tells = answers.contains(&true) && answers.contains(&false);
    if facts.stage < Stage::ServerHello && tells {
        Stage::ServerHello
    } else {
        Stage::Certificate
    }
}

fn at_stage(stage: Stage) -> impl Iterator<Item = NotNegotiated> {
    NotNegotiated::ALL
        .into_iter()
        .filter(move |reason| reason.stage() == stage)
}

fn tls(states: TlsStates, facts: &Facts<'_>) -> Truth {
    let by_probe = |reason| states.negotiated || states.contains(reason);
    let mut finals = Vec::new();
    match facts.negotiation() {
        None => finals.push(false),
        Some(Tls::Not(reason)) if reason.stage() == Stage::Certificate => {
            finals.push(by_probe(reason));
        }
        Some(Tls::Not(reason)) => finals.push(states.contains(reason)),
        Some(Tls::Hello | Tls::Negotiated) => {
            finals.push(states.negotiated);
            if facts.stage < Stage::ServerHello {
                finals.extend(at_stage(Stage::ServerHello).map(|reason| states.contains(reason)));
            }
            let in_vain = facts.certificate.contains(CertificateState::Unavailable);
            if facts.stage < Stage::Certificate || in_vain {
                finals.extend(at_stage(Stage::Certificate).map(by_probe));
            }
        }
    }
    match (finals.contains(&true), finals.contains(&false)) {
        (true, true) => None,
        (holds, _) => Some(holds),
    }
}

/// Whether nothing says that the client's first bytes are no hello.
fn has_hello(facts: &Facts<'_>) -> bool {
    !matches!(facts.tls, Some(Tls::Not(reason)) if !reason.follows_hello())
}

fn has_certificate(facts: &Facts<'_>) -> bool {
    match facts.negotiation() {
        None => false,
        Some(Tls::Hello | Tls::Negotiated) => true,
        Some(Tls::Not(reason)) => {
            reason == NotNegotiated::ClientRejectedCa || reason.stage() == Stage::Certificate
        }
    }
}

fn is_unavailable(facts: &Facts<'_>) -> bool {
    facts.stage >= Stage::Certificate
        && has_certificate(facts)
        && facts.certificate.contains(CertificateState::Unavailable)
}

/// What is spoken inside TLS: what somebody says, or HTTP where there is a URL.
fn inside<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    match facts.request.inner {
        Some(Inner::Application(name)) => Some(name),
        Some(Inner::Http) => Some("http"),
        Some(Inner::WebSocket) => Some("websocket"),
        Some(Inner::Unrecognised) => None,
        None => facts.request.url.map(|_| "http"),
    }
}

fn has_http_inside(facts: &Facts<'_>) -> bool {
    matches!(inside(facts), Some("http" | "websocket"))
}

/// What one condition answers.
fn condition(set: &RuleSet, facts: &Facts<'_>, condition: &Condition) -> Truth {
    let Some(fact) = condition.fact() else {
        let Condition::Not(inner) = condition else {
            unreachable!("only a negation has no fact")
        };
        return all(inner.iter().map(|one| self::condition(set, facts, one))).map(|holds| !holds);
    };
    let stage = fact.stage();
    let of_connect = matches!(condition, Condition::HostMismatch(_));
    if of_connect && facts.stage >= Stage::Open && !facts.is_tunnel() {
        // It is known early that there is no CONNECT that could differ from the hello.
        return Some(false);
    }
    if facts.stage < stage.min(Stage::Hello) {
        return None;
    }
    if stage > Stage::Hello {
        let in_the_clear = facts.application == Some("http") && !facts.is_tls();
        let is_inner = matches!(condition, Condition::Inner(_));
        let applies =
            has_certificate(facts) || stage == Stage::Request && in_the_clear && !is_inner;
        if !applies {
            return Some(false);
        }
        if facts.stage < stage {
            return None;
        }
        if is_unavailable(facts) && stage >= Stage::Certificate {
            return match condition {
                Condition::Certificate(states)
                    if states.contains(CertificateState::Unavailable) =>
                {
                    Some(true)
                }
                _ => None,
            };
        }
        let speaks_of_a_request =
            stage == Stage::Request && !is_inner && !matches!(condition, Condition::Inspected(_));
        if speaks_of_a_request && has_certificate(facts) && !has_http_inside(facts) {
            return Some(false);
        }
    }
    if let Condition::Tls(states) = condition {
        return tls(*states, facts);
    }
    Some(value(set, facts, condition))
}

/// What a condition answers whose fact is known and applies, or applies not to this flow.
fn value(set: &RuleSet, facts: &Facts<'_>, condition: &Condition) -> bool {
    let request = &facts.request;
    let connect = facts.connect.unwrap_or_default();
    match condition {
        Condition::Not(_) | Condition::Tls(_) => unreachable!("answered before"),
        Condition::Alpn(values) => {
            has_hello(facts)
                && values.iter().any(|value| match value {
                    None => facts.alpn.is_absent() && facts.is_tls(),
                    Some(name) => facts.alpn.iter().any(|offered| offered == name.as_slice()),
                })
        }
        Condition::Application(values) => values
            .iter()
            .any(|value| value.as_deref() == facts.application),
        Condition::Certificate(states) => states.meets(facts.certificate),
        Condition::Client(items) => facts.client.is_some_and(|client| is_in(set, items, client)),
        Condition::Destination(items) => facts
            .destination
            .is_some_and(|address| is_in(set, items, address)),
        Condition::ClientCertificate(asked) => facts.client_certificate == Some(*asked),
        Condition::ConnectHost(values) => {
            facts.is_tunnel() && maybe(values, connect.host, |item, host| is_host(set, item, host))
        }
        Condition::ConnectHostIsIp(is_ip) => {
            let is_literal = |host: &str| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            facts.is_tunnel()
                && connect
                    .host
                    .is_some_and(|host| is_literal(host).is_ok() == *is_ip)
        }
        Condition::ConnectPort(ranges) => {
            facts.is_tunnel()
                && connect
                    .port
                    .is_some_and(|port| ranges.iter().any(|range| range.contains(port)))
        }
        Condition::ConnectUserAgent(values) => {
            facts.is_tunnel() && maybe(values, connect.user_agent, is_text)
        }
        Condition::ContentType(values) => {
            let value = request
                .content_type
                .or_else(|| request.header("content-type"));
            maybe(values, value, is_text)
        }
        Condition::Ech(offered) => has_hello(facts) && facts.ech == Some(*offered),
        Condition::Group(values) => values.iter().any(|value| match value {
            Some(group) => is_member(set, facts, group.0),
            None => (0..set.groups.len()).all(|group| !is_member(set, facts, group)),
        }),
        Condition::Header { name, values } => maybe(values, request.header(name), is_text),
        Condition::Host(values) => maybe(values, facts.host, |item, host| is_host(set, item, host)),
        Condition::HostIsIp(is_ip) => facts.is_addressed_by_ip() == *is_ip,
        Condition::HostMismatch(differ) => {
            facts.is_tunnel() && facts.has_host_mismatch() == *differ
        }
        Condition::Inner(values) => values.iter().any(|value| value.as_deref() == inside(facts)),
        Condition::Inspected(inspected) => {
            request.inspected.unwrap_or_else(|| facts.is_tls()) == *inspected
        }
        Condition::Issuer(values) => maybe(values, facts.issuer, is_text),
        Condition::Ja4(patterns) => {
            has_hello(facts)
                && facts.ja4.is_some_and(|ja4| {
                    patterns.iter().any(|pattern| match pattern {
                        Ja4Pattern::Exact(text) => ja4 == text,
                        Ja4Pattern::Prefix(text) => ja4.starts_with(text.as_str()),
                    })
                })
        }
        Condition::Listener(patterns) => patterns.iter().any(|pattern| match pattern {
            ListenerPattern::Named(name) => facts.listener == Some(Listener::Proxy(name)),
            ListenerPattern::Proxy => matches!(facts.listener, Some(Listener::Proxy(_))),
            ListenerPattern::Transparent => facts.listener == Some(Listener::Transparent),
        }),
        Condition::Method(methods) => request
            .method
            .is_some_and(|method| methods.iter().any(|one| one == method)),
        Condition::Path(patterns) => request.url.is_some_and(|url| {
            let path = UrlParts::split(url).effective_path();
            patterns.iter().any(|pattern| is_text(pattern, path))
        }),
        Condition::Port(ranges) => facts
            .port
            .is_some_and(|port| ranges.iter().any(|range| range.contains(port))),
        Condition::Schedule(ids) => facts
            .time
            .is_some_and(|time| ids.iter().any(|id| set.schedules[id.0].contains(time))),
        Condition::Size(ranges) => request.size.is_some_and(|size| {
            ranges
                .iter()
                .any(|range| range.least <= size && size <= range.most)
        }),
        Condition::TlsVersion(versions) => has_hello(facts) && versions.meets(facts.tls_versions),
        Condition::TlsVersionChosen(versions) => facts
            .tls_version_chosen
            .is_some_and(|chosen| versions.iter().any(|version| version == chosen)),
        Condition::Url(items) => request
            .url
            .is_some_and(|url| items.iter().any(|item| is_url(set, item, url))),
        Condition::UrlHost(items) => request.url.is_some_and(|url| {
            let host = UrlParts::split(url).host;
            items.iter().any(|item| is_host(set, item, host))
        }),
        Condition::UrlHostIsIp(is_ip) => request.url.is_some_and(|url| {
            UrlParts::split(url)
                .host
                .parse::<std::net::IpAddr>()
                .is_ok()
                == *is_ip
        }),
        Condition::User(values) => values.iter().any(|value| value.as_deref() == facts.user),
        Condition::UserAgent(values) => {
            let value = request.user_agent.or_else(|| request.header("user-agent"));
            maybe(values, value, is_text)
        }
    }
}

/// Whether one of the values means what is there, or that nothing is.
fn maybe<T>(values: &[Option<T>], there: Option<&str>, means: impl Fn(&T, &str) -> bool) -> bool {
    values.iter().any(|value| match (value, there) {
        (None, None) => true,
        (Some(value), Some(there)) => means(value, there),
        _ => false,
    })
}

fn is_text(pattern: &TextPattern, text: &str) -> bool {
    match pattern {
        TextPattern::Exact(exact) => text == &**exact,
        TextPattern::Prefix(prefix) => text.starts_with(&**prefix),
        TextPattern::Regex(regex) => regex_automata::meta::Regex::new(regex)
            .unwrap()
            .is_match(text),
    }
}

fn list(set: &RuleSet, id: ListId) -> &ListData {
    &set.lists[id.0].data
}

fn is_in(set: &RuleSet, items: &[AddressItem], address: std::net::IpAddr) -> bool {
    items.iter().any(|item| match item {
        AddressItem::Net(net) => net.contains(address),
        AddressItem::List(id) => match list(set, *id) {
            ListData::Addresses(nets) => nets.iter().any(|net| net.contains(address)),
            _ => unreachable!("a list of addresses"),
        },
    })
}

fn is_host(set: &RuleSet, item: &HostItem, host: &str) -> bool {
    match item {
        HostItem::Pattern(pattern) => pattern.matches(host),
        HostItem::List(id) => match list(set, *id) {
            ListData::Domains(names) => names
                .iter()
                .any(|name| name.parse::<HostPattern>().unwrap().matches(host)),
            _ => unreachable!("a list of domains"),
        },
    }
}

fn is_url(set: &RuleSet, item: &UrlItem, url: &str) -> bool {
    match item {
        UrlItem::Pattern(pattern) => is_text(pattern, url),
        UrlItem::List(id) => match list(set, *id) {
            ListData::Urls(entries) => entries.iter().any(|entry| is_entry(entry, url)),
            _ => unreachable!("a list of URLs"),
        },
    }
}

fn is_entry(entry: &UrlEntry, url: &str) -> bool {
    let parts = UrlParts::split(url);
    entry.host.matches(parts.host)
        && entry
            .scheme
            .as_deref()
            .is_none_or(|scheme| scheme == parts.scheme)
        && entry
            .port
            .is_none_or(|port| Some(port) == parts.effective_port())
        && parts.effective_path().starts_with(&*entry.path)
}

fn is_member(set: &RuleSet, facts: &Facts<'_>, index: usize) -> bool {
    let group = &set.groups[index];
    facts.groups.iter().any(|name| **name == *group.name)
        || facts
            .client
            .is_some_and(|client| group.nets.iter().any(|net| net.contains(client)))
        || facts
            .user
            .is_some_and(|user| group.users.iter().any(|member| member == user))
        || group
            .groups
            .iter()
            .any(|inner| is_member(set, facts, inner.0))
}
