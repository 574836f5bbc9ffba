//! One daemon follows another.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_tests::{family::Family, lab::Lab, peer::Peer};

use crate::{
    exchange::{Heard, Then, echoed, hear, say},
    support::{OPEN, connect, eventually, has_ended, status},
};

#[test]
#[ignore = "root: cargo xtask test"]
fn flows_go_on_while_the_old_daemon_drains_and_the_new_one_serves() {
    let lab = Lab::new();
    let old = lab.run_sluice(OPEN);
    let _origins = Family::ALL.map(|family| Peer::echo(lab.internet(), family.origin_at(5, 443)));
    let begin = |family: Family| connect(&lab, family.other(), family.origin_at(5, 443));
    let mut begun = Family::ALL.map(begin);
    for stream in &mut begun {
        echoed(stream, b"before");
    }
    old.signal(Signal::TERM);
    for stream in &mut begun {
        echoed(stream, b"while it drains");
    }
    eventually("the kernel side is free", || {
        old.log().contains("a successor may start")
    });
    let new = lab.run_sluice(OPEN);
    assert!(!has_ended(old.pid()), "{}", old.log());
    for (family, stream) in Family::ALL.into_iter().zip(&mut begun) {
        echoed(stream, &[0x61; 60_000]);
        let mut fresh = begin(family);
        echoed(&mut fresh, b"by the new one");
        eventually("the new one's flow is counted there", || {
            new.metrics().sum("sluice_active_flows", &[]) == 1.0
        });
        say(&mut fresh, b"", Then::Finish);
        assert_eq!(hear(&mut fresh), Heard::bytes(b""));
        eventually("it is over", || {
            new.metrics().sum("sluice_active_flows", &[]) == 0.0
        });
    }
    for stream in &mut begun {
        echoed(stream, b"to the end");
        say(stream, b"", Then::Finish);
        assert_eq!(hear(stream), Heard::bytes(b""));
    }
    eventually("the old one ends with its last flow", || {
        has_ended(old.pid())
    });
    assert!(old.stop().success());
    assert_eq!(status(&lab)["daemon"], true);
    for family in Family::ALL {
        echoed(&mut begin(family), b"after all that");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_drain_ends_at_its_deadline() {
    let lab = Lab::new();
    let config = OPEN.replace("drain_timeout = \"20s\"", "drain_timeout = \"1s\"");
    let daemon = lab.run_sluice(&config);
    let origin = Peer::echo(lab.internet(), Family::V4.origin_at(5, 443));
    let mut stream = connect(&lab, Family::V4.other(), origin.address());
    echoed(&mut stream, b"before");
    let begin = Instant::now();
    assert!(daemon.stop().success());
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(6),
        "{took:?}"
    );
    assert_eq!(hear(&mut stream), Heard::reset());
}
