//! How the status is told.

use std::time::{Duration, SystemTime};

use sluice_abi::{Hook, Reason, Verdict};
use sluice_steer::{Counter, Counters, DeviceStatus, EventStats, FlowFill, Status};

use super::{
    daemon::Daemon,
    facts::{Ca, Facts},
    health::{Health, State},
    human, machine,
};
use crate::{
    ask::AskError,
    daemon::{
        admin::{Logged, Remembered},
        records::SinkStatus,
    },
    intercept::rejected::Refusal,
    scrape::{Between, Scrape},
};

type Rejected = Result<Remembered, AskError>;
type Log = Result<Logged, AskError>;

const NOW: i64 = 1_800_000_000;

/// A daemon of two workers, a provider and a configuration that is an hour old.
const SCRAPE: &str = r#"
sluice_build_info{version="0.1.0"} 1
sluice_uptime_seconds 200.5
sluice_ready 1
sluice_generation 7
sluice_active_flows 4
sluice_worker_turn_age_seconds{worker="0"} 0
sluice_worker_turn_age_seconds{worker="1"} 1
sluice_reload_total{result="taken"} 6
sluice_reload_total{result="refused"} 2
sluice_config_last_reload_successful 1
sluice_last_reload_success_timestamp_seconds 1799996400
sluice_flows_total{verdict="splice",reason="default",tls="negotiated"} 300
sluice_flows_total{verdict="splice",reason="rule",tls="negotiated"} 101
sluice_flows_total{verdict="block",reason="rule",tls="unread"} 5
sluice_authentications_total{provider="staff",outcome="ok"} 3
sluice_authentications_total{provider="staff",outcome="refused"} 1
sluice_provider_down{provider="staff"} 0
"#;

fn daemon(scrape: &str) -> Result<Daemon, String> {
    let after = Scrape::parse(scrape).unwrap();
    let between = Between {
        before: &Scrape::default(),
        after: &after,
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs());
    Daemon::of(between, now).ok_or_else(|| "no daemon".into())
}

fn well() -> Facts {
    Facts {
        kernel: Ok(loaded()),
        daemon: daemon(SCRAPE),
        listens: true,
        rejected: refused(0),
        log: Ok(Logged {
            lost: 0,
            refuses: false,
            sinks: Vec::new(),
        }),
        ca: None,
        now: NOW,
    }
}

fn facts(status: &Status, rejected: Rejected, log: Log) -> Facts {
    Facts {
        kernel: Ok(status.clone()),
        rejected,
        log,
        ..well()
    }
}

fn shown(facts: &Facts) -> String {
    human::text(facts, &Health::of(facts))
}

fn human(status: &Status, rejected: Rejected, log: Log) -> String {
    shown(&facts(status, rejected, log))
}

fn loaded() -> Status {
    let counter = |packets| Counter {
        hook: Hook::LanIngress,
        verdict: Verdict::Reject,
        reason: Reason::NotQuic,
        packets,
        bytes: packets * 100,
    };
    Status {
        abi: 1,
        generation: 7,
        heartbeat_age_ns: Some(400_000_000),
        heartbeat_limit_ns: 5_000_000_000,
        fail_open: false,
        devices: vec![DeviceStatus {
            name: "lan0".to_owned(),
            ingress: true,
            egress: true,
        }],
        flows: FlowFill {
            established: 3,
            embryonic: 1,
        },
        counters: Counters {
            packets: (1..=14).map(counter).collect(),
            events: EventStats {
                sent: 5,
                sampled: 2,
                lost: 0,
            },
        },
    }
}

fn refused(count: u8) -> Rejected {
    let refusal = |last: u8| Refusal {
        client: format!("10.0.0.{last}"),
        host: Some("pinned.example".to_owned()),
        destination: ([192, 0, 2, 1], 443).into(),
        alert: (last == 1).then(|| "unknown_ca".to_owned()),
        times: last.into(),
        seconds_left: 60 * 60 * u64::from(last),
    };
    Ok(Remembered {
        remembered: count.into(),
        refusals: (1..=count).map(refusal).collect(),
    })
}

fn log() -> Log {
    let sink = |name: &str, state: &'static str| SinkStatus {
        sink: name.to_owned(),
        state: state.into(),
        written: 7,
        bytes: 700,
        dropped: 2,
        errors: 1,
        queued_bytes: 4096,
    };
    Ok(Logged {
        lost: 4,
        refuses: true,
        sinks: vec![sink("stdout", "ok"), sink("journald", "failing")],
    })
}

#[test]
fn people_see_how_records_fare() {
    let text = human(&loaded(), refused(0), log());
    for part in [
        "records     stdout: ok, 7 written, 2 lost, 4096 bytes waiting\n",
        "records     journald: failing, 7 written, 2 lost, 4096 bytes waiting\n",
        "            new flows are refused until they can be written\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn people_see_the_latest_refusals() {
    let text = human(&loaded(), refused(5), log());
    for part in [
        "rejected    5 remembered, the latest first\n",
        "            10.0.0.1 refused pinned.example at 192.0.2.1:443 once, said unknown_ca; \
         remembered for 60 min\n",
        "            10.0.0.3 refused pinned.example at 192.0.2.1:443 3 times, closed without \
         a word; remembered for 3 h\n",
        "            and 2 more: `sluice rejected` has them all\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("10.0.0.4"), "{text}");
    let text = human(&loaded(), refused(0), log());
    assert!(text.contains("no client refused the CA"), "{text}");
    let text = human(&loaded(), Err(AskError::Nowhere), Err(AskError::Nowhere));
    assert!(
        text.contains("rejected    not known: `listen` in [admin]"),
        "{text}"
    );
}

#[test]
fn people_see_who_lives_and_what_counts_most() {
    let text = human(&loaded(), refused(0), log());
    for part in [
        "7 (layout 1)",
        "alive, seen 0.4 s ago",
        "lan0: attached",
        "3 established",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let first = text.lines().find(|line| line.contains("not-quic")).unwrap();
    assert!(first.trim_start().starts_with("14 "), "{first}");
    assert!(
        text.ends_with("and 2 more: --json has them all\n"),
        "{text}"
    );
    let gone = Status {
        heartbeat_age_ns: Some(60_000_000_000),
        ..loaded()
    };
    assert!(human(&gone, refused(0), log()).contains("gone for 60 s: steered ports are refused"));
    let none = Status {
        heartbeat_age_ns: None,
        fail_open: true,
        ..loaded()
    };
    assert!(human(&none, refused(0), log()).contains("none: steered ports are forwarded natively"));
}

#[test]
fn machines_see_everything() {
    let facts = facts(&loaded(), refused(5), log());
    let value = machine::value(&facts, &Health::of(&facts));
    assert_eq!(value["rejected"]["remembered"], 5);
    assert_eq!(value["rejected"]["refusals"][4]["times"], 5);
    assert_eq!(value["generation"], 7);
    assert_eq!(value["records"]["sinks"][1]["state"], "failing");
    assert_eq!(value["daemon"], true);
    assert_eq!(value["on_failure"], "closed");
    assert_eq!(value["counters"].as_array().unwrap().len(), 14);
    assert_eq!(value["counters"][0]["reason"], "not-quic");
    assert_eq!(value["devices"][0]["ingress"], true);
    assert_eq!(value["health"]["state"], "degraded");
    assert_eq!(
        value["health"]["faults"][0],
        "records to journald are failing"
    );
    assert_eq!(value["process"]["flows"]["splice"]["total"], 401);
    assert_eq!(value["process"]["flows"]["splice"]["per_second"], 2.0);
    assert_eq!(value["process"]["workers"][1]["turn_age_seconds"], 1.0);
    assert_eq!(value["process"]["providers"][0]["outcomes"]["ok"], 3);
    assert!(value["ca"].is_null());
}

#[test]
fn people_see_how_the_daemon_fares() {
    let ca = Ca {
        subject: "CN=Example".into(),
        not_after: NOW + 40 * 86_400,
    };
    let text = shown(&Facts {
        ca: Some(Ok(ca)),
        ..well()
    });
    for part in [
        "state       healthy\n",
        "process     version 0.1.0, up 3 min 20 s, 4 flows now\n",
        "verdict     splice: 2.0 flows/s, 401 in all\n",
        "reload      last taken; in force for 1 h 0 min (6 taken, 2 refused)\n",
        "workers     2, each had a turn within 1 s\n",
        "provider    staff: up, 3 ok, 1 refused\n",
        "ca          \"CN=Example\": 40 days left\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn what_is_amiss_is_named_and_degrades() {
    let scraped = |line: &str, instead: &str| Facts {
        daemon: daemon(&SCRAPE.replace(line, instead)),
        ..well()
    };
    let ending = |days: i64| Facts {
        ca: Some(Ok(Ca {
            subject: String::new(),
            not_after: NOW + days * 86_400,
        })),
        ..well()
    };
    let with = |change: fn(&mut Status)| {
        let mut status = loaded();
        change(&mut status);
        Facts {
            kernel: Ok(status),
            ..well()
        }
    };
    let refuses = Facts {
        log: log(),
        ..well()
    };
    let silent = Facts {
        daemon: Err("no daemon of this version answers".into()),
        ..well()
    };
    let unread = Facts {
        kernel: Err("permission denied".into()),
        ..well()
    };
    for (facts, what) in [
        (
            scraped("sluice_ready 1", "sluice_ready 0"),
            "accepts no flows",
        ),
        (scraped("successful 1", "successful 0"), "`sluice check`"),
        (
            scraped("{worker=\"1\"} 1", "{worker=\"1\"} 9"),
            "worker 1 has had no turn for 9 s",
        ),
        (
            scraped("down{provider=\"staff\"} 0", "down{provider=\"staff\"} 1"),
            "\"staff\" does not answer",
        ),
        (ending(13), "ends in 13 days"),
        (ending(-1), "the CA is over"),
        (
            with(|status| status.generation = 0),
            "everything is dropped",
        ),
        (with(|status| status.devices.clear()), "nothing is judged"),
        (
            with(|status| status.devices[0].egress = false),
            "lan0 is not attached both ways",
        ),
        (
            with(|status| status.heartbeat_age_ns = None),
            "no sign of life",
        ),
        (refuses, "new flows are refused"),
        (silent, "no daemon of this version"),
        (unread, "cannot be read: permission denied"),
    ] {
        let health = Health::of(&facts);
        assert_eq!(health.state, State::Degraded, "{what}");
        assert!(
            health.faults.iter().any(|fault| fault.contains(what)),
            "{what}: {health:?}"
        );
        let text = human::text(&facts, &health);
        assert!(
            text.starts_with("state       degraded\n            "),
            "{text}"
        );
    }
    let nobody_asks = Facts {
        daemon: Err("`listen` names no address".into()),
        listens: false,
        ..well()
    };
    assert_eq!(Health::of(&nobody_asks).state, State::Healthy);
}

#[test]
fn nothing_runs_where_neither_the_kernel_nor_an_address_knows_of_a_daemon() {
    let mut status = loaded();
    status.heartbeat_age_ns = Some(60_000_000_000);
    for kernel in [Ok(status), Err("nothing is loaded".into())] {
        let facts = Facts {
            kernel,
            daemon: Err("nobody answers".into()),
            ..well()
        };
        let health = Health::of(&facts);
        assert_eq!(health.state, State::NotRunning);
        assert!(shown(&facts).starts_with("state       not running\n"));
    }
}
