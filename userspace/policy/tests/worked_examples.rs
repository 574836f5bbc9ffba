//! The worked examples of the policy's semantics, row by row.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::sync::Arc;

use sluice_abi::{Verdict, table::Direction};
use sluice_policy::{
    Action, BlockKind, Cause, CertificateState, CertificateStates, Condition, Decision,
    DefaultAction, Defaults, DomainListBuilder, Fact, FactSet, Facts, Group, GroupId, HostItem,
    Inner, List, ListData, ListId, NotNegotiated, Outcome, Policy, PortRange, Rule, RuleBody,
    RuleSet, Scratch, Stage, TextPattern, Tls, TlsStates,
    kernel::{Egress, EgressAction, Steer, judge},
};

const BANKS: ListId = ListId(0);
const WEBMAIL: ListId = ListId(1);
const ALLOW_SKYPE: GroupId = GroupId(0);
const STAFF: GroupId = GroupId(1);

fn list(name: &str, entry: &str) -> List {
    let mut builder = DomainListBuilder::default();
    builder.add(entry).unwrap();
    List {
        name: name.into(),
        data: ListData::Domains(Arc::new(builder.finish())),
    }
}

fn group(name: &str) -> Group {
    Group {
        name: name.into(),
        ..Group::default()
    }
}

fn rule(action: Action, when: Vec<Condition>, unless: Vec<Condition>) -> Rule {
    Rule {
        name: action.name().into(),
        when,
        unless,
        tags: Vec::new(),
        body: RuleBody::Act {
            action,
            last: true,
            message: None,
        },
    }
}

fn host_in(list: ListId) -> Condition {
    Condition::Host(vec![Some(HostItem::List(list))])
}

/// Policy P.
fn rules() -> RuleSet {
    let page = Action::Block(BlockKind::Page);
    let bad = CertificateStates::of([CertificateState::Expired, CertificateState::Untrusted]);
    let path = Condition::Path(vec![TextPattern::Exact("/upload".into())]);
    let in_group = |group| vec![Condition::Group(vec![Some(group)])];
    let qa = vec![Condition::User(vec![Some("qa".into())])];
    let not_negotiated = Condition::Tls(TlsStates::not_negotiated());
    RuleSet {
        defaults: Defaults {
            identified: DefaultAction::Allow,
            unidentified: DefaultAction::Allow,
        },
        users: Vec::new(),
        groups: vec![group("Allow Skype"), group("staff")],
        lists: vec![
            list("banks", "bank.example"),
            list("webmail", "mail.example"),
        ],
        schedules: Vec::new(),
        rules: vec![
            rule(Action::Splice, vec![host_in(BANKS)], vec![]),
            rule(page.clone(), vec![not_negotiated], in_group(ALLOW_SKYPE)),
            rule(page.clone(), vec![Condition::Certificate(bad)], qa),
            rule(Action::Inspect, vec![host_in(WEBMAIL)], vec![]),
            rule(page, vec![path, host_in(WEBMAIL)], in_group(STAFF)),
        ],
    }
}

/// A flow of which everything is known that a request would show.
fn flow(tls: Tls, host: Option<&'static str>) -> Facts<'static> {
    let mut facts = Facts::packet([10, 20, 4, 7].into(), [192, 0, 2, 1].into(), 443);
    facts.stage = Stage::Request;
    facts.tls = Some(tls);
    facts.host = host;
    facts.user = Some("alice");
    facts.certificate = CertificateStates::of([CertificateState::Valid]);
    facts.request.method = Some("GET");
    facts.request.url = Some("https://mail.example/");
    facts
}

fn decide(set: &RuleSet, facts: &Facts<'_>) -> Decision {
    let policy = Policy::compile(set).unwrap();
    policy.decide(facts, &mut Scratch::default())
}

/// The stages at which one looks into a flow, the outcome, and the number of the rule that decided,
/// from 1; no rule where the default did.
fn course(set: &RuleSet, flow: Facts<'_>) -> (Vec<Stage>, Outcome, Option<usize>) {
    let policy = Policy::compile(set).unwrap();
    let mut facts = Facts {
        stage: Stage::Hello,
        ..flow
    };
    let mut stages = Vec::new();
    loop {
        stages.push(facts.stage);
        match policy.decide(&facts, &mut Scratch::default()) {
            Decision::Decided(decided) => {
                let rule = match decided.cause {
                    Cause::Rule(id) => policy.rules().iter().position(|info| {
                        policy.rule(id).is_some_and(|rule| std::ptr::eq(rule, info))
                    }),
                    _ => None,
                };
                return (stages, decided.outcome, rule.map(|index| index + 1));
            }
            Decision::Undecided(undecided) => match undecided.next {
                Some(next) => facts.stage = next,
                None => panic!("{undecided:?} at {}", facts.stage),
            },
        }
    }
}

fn undecided(decision: &Decision) -> Option<Stage> {
    match decision {
        Decision::Decided(decided) => panic!("decided: {decided:?}"),
        Decision::Undecided(undecided) => undecided.next,
    }
}

const PAGE: Outcome = Outcome::Block(BlockKind::Page);
const SSLV2: Tls = Tls::Not(NotNegotiated::Sslv2Hello);

/// The table, and the same with the default turned round and a rule that says what it said.
fn policies() -> [RuleSet; 2] {
    let mut closed = rules();
    let shut = DefaultAction::Block(BlockKind::Alert);
    closed.defaults = Defaults {
        identified: shut,
        ..closed.defaults
    };
    let news = HostItem::Pattern("news.example".parse().unwrap());
    closed.rules.push(rule(
        Action::Allow,
        vec![Condition::Host(vec![Some(news)])],
        vec![],
    ));
    [rules(), closed]
}

#[test]
fn an_sslv2_hello_is_blocked_at_once() {
    for set in policies() {
        assert_eq!(
            course(&set, flow(SSLV2, None)),
            (vec![Stage::Hello], PAGE, Some(2))
        );
    }
}

#[test]
fn an_sslv2_hello_of_an_excepted_user_passes_at_once() {
    for set in policies() {
        let facts = Facts {
            groups: &["Allow Skype".into()],
            ..flow(SSLV2, None)
        };
        assert_eq!(
            course(&set, facts),
            (vec![Stage::Hello], Outcome::Allow, None)
        );
    }
}

#[test]
fn a_bank_is_spliced_at_its_hello() {
    for set in policies() {
        let facts = flow(Tls::Hello, Some("bank.example"));
        assert_eq!(
            course(&set, facts),
            (vec![Stage::Hello], Outcome::Splice, Some(1))
        );
    }
}

#[test]
fn who_is_excepted_from_what_is_unknown_needs_no_look() {
    for set in policies() {
        let facts = Facts {
            groups: &["Allow Skype".into()],
            user: Some("qa"),
            ..flow(Tls::Hello, Some("news.example"))
        };
        let (stages, outcome, _) = course(&set, facts);
        assert_eq!((stages, outcome), (vec![Stage::Hello], Outcome::Allow));
    }
}

#[test]
fn an_ordinary_flow_is_probed_and_never_decrypted() {
    for set in policies() {
        let good = flow(Tls::Negotiated, Some("news.example"));
        let to_certificate = vec![Stage::Hello, Stage::ServerHello, Stage::Certificate];
        let (stages, outcome, _) = course(&set, good);
        assert_eq!((&stages, outcome), (&to_certificate, Outcome::Allow));

        let expired = CertificateStates::of([CertificateState::Expired]);
        let facts = Facts {
            certificate: expired,
            ..good
        };
        assert_eq!(course(&set, facts), (to_certificate, PAGE, Some(3)));

        let refused = Tls::Not(NotNegotiated::NoCommonVersion);
        let facts = Facts {
            tls: Some(refused),
            ..good
        };
        assert_eq!(
            course(&set, facts),
            (vec![Stage::Hello, Stage::ServerHello], PAGE, Some(2))
        );
    }
}

#[test]
fn webmail_of_staff_is_decrypted_once_its_certificate_is_good() {
    let facts = Facts {
        groups: &["staff".into()],
        ..flow(Tls::Negotiated, Some("mail.example"))
    };
    let to_certificate = vec![Stage::Hello, Stage::ServerHello, Stage::Certificate];
    let (stages, outcome, _) = course(&rules(), facts);
    assert_eq!((stages, outcome), (to_certificate, Outcome::AllowDecrypted));
}

#[test]
fn webmail_of_others_hangs_on_each_request() {
    let facts = flow(Tls::Negotiated, Some("mail.example"));
    let policy = Policy::compile(&rules()).unwrap();
    let probed = Facts {
        stage: Stage::Certificate,
        ..facts
    };
    let decision = policy.weigh(&probed, &mut Scratch::default());
    assert_eq!(undecided(&decision), Some(Stage::Request));
    let Decision::Undecided(open) = decision else {
        unreachable!("undecided")
    };
    let possible: Vec<_> = open.possible.iter().collect();
    assert_eq!(possible, [Outcome::AllowDecrypted, PAGE]);
    let (_, outcome, _) = course(&rules(), facts);
    assert_eq!(outcome, Outcome::AllowDecrypted);
}

#[test]
fn its_upload_is_blocked() {
    let mut facts = flow(Tls::Negotiated, Some("mail.example"));
    facts.request.url = Some("https://mail.example/upload");
    let (stages, outcome, rule) = course(&rules(), facts);
    assert_eq!(stages.last(), Some(&Stage::Request));
    assert_eq!((outcome, rule), (PAGE, Some(5)));
}

#[test]
fn quic_on_native_ports_is_rejected_in_the_kernel() {
    let egress = Egress {
        default: EgressAction::Reject,
        block_tcp: vec![],
        block_udp: vec![],
        pass_tcp: vec![],
        pass_udp: vec![],
        quic: EgressAction::Reject,
        other_protocols: vec![],
        icmp_per_second: 100,
        flow_limit: 262_144,
        flow_limit_per_client: 8192,
        rules: vec![],
    };
    let steer = Steer {
        tls: vec![PortRange::single(443)],
        http: vec![],
    };
    let (client, remote) = ([10, 20, 4, 7].into(), [192, 0, 2, 1].into());
    let entry = judge(
        &egress,
        &steer,
        None,
        Direction::Out,
        client,
        remote,
        17,
        443,
    );
    assert_eq!(
        entry,
        sluice_abi::Entry::new(Verdict::Reject, sluice_abi::Reason::Quic)
    );
}

#[test]
fn without_its_host_rule_five_would_decrypt_every_flow() {
    let mut set = rules();
    set.rules.pop();
    let path = Condition::Path(vec![TextPattern::Exact("/upload".into())]);
    set.rules
        .push(rule(Action::Block(BlockKind::Page), vec![path], vec![]));
    let facts = Facts {
        stage: Stage::Certificate,
        ..flow(Tls::Negotiated, Some("news.example"))
    };
    assert_eq!(undecided(&decide(&set, &facts)), Some(Stage::Request));
}

/// Tunnels inside TLS are not let through, uploads neither; everything else is.
fn no_tunnels() -> RuleSet {
    let words = |words: &[&str]| words.iter().map(|&word| Some(word.into())).collect();
    let web = Condition::Inner(words(&["http", "websocket"]));
    let negotiated = Condition::Tls(TlsStates::NEGOTIATED);
    let path = Condition::Path(vec![TextPattern::Exact("/upload".into())]);
    let reset = Action::Block(BlockKind::Reset);
    let mut set = rules();
    set.rules = vec![
        rule(Action::Splice, vec![host_in(BANKS)], vec![]),
        rule(reset, vec![negotiated, Condition::Not(vec![web])], vec![]),
        rule(Action::Block(BlockKind::Page), vec![path], vec![]),
    ];
    set
}

#[test]
fn what_is_inside_is_known_once_the_flow_is_decrypted() {
    let all = vec![Stage::Hello, Stage::ServerHello, Stage::Request];
    let within = |inner| {
        let mut facts = flow(Tls::Negotiated, Some("news.example"));
        facts.request.inner = Some(inner);
        facts
    };
    let reset = Outcome::Block(BlockKind::Reset);
    for (inner, outcome, rule) in [
        (Inner::Http, Outcome::Allow, None),
        (Inner::WebSocket, Outcome::Allow, None),
        (Inner::Application("ssh"), reset, Some(2)),
        (Inner::Unrecognised, reset, Some(2)),
    ] {
        let course = course(&no_tunnels(), within(inner));
        assert_eq!(course, (all.clone(), outcome, rule), "{inner:?}");
    }
    let mut upload = within(Inner::WebSocket);
    upload.request.url = Some("https://news.example/upload");
    assert_eq!(course(&no_tunnels(), upload), (all, PAGE, Some(3)));

    let bank = Facts {
        host: Some("bank.example"),
        ..within(Inner::Unrecognised)
    };
    let at_once = (vec![Stage::Hello], Outcome::Splice, Some(1));
    assert_eq!(course(&no_tunnels(), bank), at_once);
}

#[test]
fn conditions_on_requests_are_false_of_what_is_not_http_inside() {
    let fields = || Condition::Header {
        name: "x-tenant".into(),
        values: vec![None],
    };
    let mut set = rules();
    set.rules = vec![
        rule(Action::Inspect, vec![], vec![]),
        rule(Action::Block(BlockKind::Page), vec![fields()], vec![]),
        rule(Action::Allow, vec![Condition::Not(vec![fields()])], vec![]),
    ];
    let mut facts = flow(Tls::Negotiated, Some("news.example"));
    assert_eq!(course(&set, facts).1, PAGE);
    facts.request.inner = Some(Inner::Unrecognised);
    assert_eq!(course(&set, facts).1, Outcome::AllowDecrypted);
    // The defaults stand for it where every rule is about requests.
    set.rules.pop();
    set.defaults.identified = DefaultAction::Block(BlockKind::Alert);
    let (_, outcome, rule) = course(&set, facts);
    assert_eq!((outcome, rule), (Outcome::Block(BlockKind::Alert), None));
}

#[test]
fn nothing_is_inside_a_flow_in_the_clear() {
    let mut set = no_tunnels();
    let absent = Condition::Inner(vec![None, Some("http".into())]);
    set.rules = vec![rule(Action::Block(BlockKind::Page), vec![absent], vec![])];
    for application in [Some("http"), Some("ssh"), None] {
        let mut facts = flow(Tls::Not(NotNegotiated::NotTls), Some("news.example"));
        facts.application = application;
        facts.request.inner = Some(Inner::Unrecognised);
        let at_once = (vec![Stage::Hello], Outcome::Allow, None);
        assert_eq!(course(&set, facts), at_once, "{application:?}");
    }
}

#[test]
fn a_rule_on_what_is_inside_could_decrypt() {
    let policy = Policy::compile(&no_tunnels()).unwrap();
    let could = |host| {
        let given = FactSet::of_all(&[Fact::Host, Fact::Tls]);
        let facts = flow(Tls::Negotiated, Some(host));
        let rules = policy.could_decrypt(&facts, given, &mut Scratch::default());
        rules.len()
    };
    assert_eq!((could("bank.example"), could("news.example")), (0, 2));
}

#[test]
fn a_certificate_that_could_not_be_had_stays_unknown() {
    let facts = Facts {
        stage: Stage::Certificate,
        certificate: CertificateStates::of([CertificateState::Unavailable]),
        ..flow(Tls::Negotiated, Some("news.example"))
    };
    assert_eq!(undecided(&decide(&rules(), &facts)), None);
}
