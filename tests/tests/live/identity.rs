//! Clients whose address stands for a user for a time.

use std::net::SocketAddr;

use serde_json::Value;
use sluice_tests::{family::Family, hello, lab::Lab, peer::Recorder};

use crate::{
    exchange::{Heard, Then, hear, say},
    support::{connect, eventually, said, try_sluice},
};

/// What becomes of a flow of the client to an origin.
fn passes(lab: &Lab, to: SocketAddr) -> bool {
    let mut client = connect(lab, Family::of(to.ip()).other(), to);
    let hello = hello::genuine("news.example", &[]);
    say(&mut client, &hello, Then::Finish);
    match hear(&mut client) {
        heard if heard == Heard::bytes(b"served") => true,
        // access_denied (RFC 8446 section 6).
        heard if heard == Heard::alert(49) => false,
        heard => panic!("{to}: {heard:?}"),
    }
}

#[track_caller]
fn command(lab: &Lab, arguments: &[&str]) -> String {
    let output = try_sluice(lab, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_flow_passes_while_its_address_stands_for_a_user_who_may() {
    let lab = Lab::new();
    let config = format!(
        r#"
        [policy]
        default = "block"
        default_unidentified = "block"
        [[rule]]
        name = "alice"
        when = {{ user = "alice" }}
        action = "allow"
        [admin]
        listen = ["unix:{}"]
        "#,
        lab.dir().join("admin.sock").display()
    );
    let daemon = lab.run_sluice(&config);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = Recorder::new(lab.internet(), to, b"served");
        let client = family.other().to_string();
        let set = |ttl: &str| {
            let user = ["--user", "alice", "--ttl", ttl];
            command(&lab, &[&["identity", "set", &client][..], &user].concat())
        };
        assert!(!passes(&lab, to), "{client}: nobody is known");

        set("1h");
        assert!(passes(&lab, to), "{client}: alice");
        let told: Value =
            serde_json::from_str(&command(&lab, &["whois", &client, "--json"])).unwrap();
        assert_eq!(
            (&told["user"], &told["source"], &told["asked"]),
            (&"alice".into(), &"told".into(), &"daemon".into())
        );
        let line = format!("\"client\":\"{}", SocketAddr::new(family.other(), 0));
        let line = line.trim_end_matches('0');
        eventually("the flow of a user is told", || {
            let log = daemon.log();
            let mut records = log.lines().filter(|record| record.contains(line));
            records.any(|record| record.contains("\"user\":\"alice\""))
        });

        set("1s");
        eventually("the time is over", || !passes(&lab, to));

        // It outlives a reload.
        set("1h");
        let generation = || command(&lab, &["whois", &client, "--json"]);
        let number =
            |text: &str| serde_json::from_str::<Value>(text).unwrap()["generation"].as_u64();
        let before = number(&generation());
        daemon.reload();
        eventually("the configuration is read again", || {
            number(&generation()) > before
        });
        assert!(passes(&lab, to), "{client}: alice still");
        command(&lab, &["identity", "clear", &client]);
        assert!(!passes(&lab, to), "{client}: forgotten");
        set("1h");
    }

    // It outlives the daemon as well.
    assert!(daemon.stop().success());
    let _daemon = lab.run_sluice(&config);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = Recorder::new(lab.internet(), to, b"served");
        assert!(passes(&lab, to), "{to}: alice, of another daemon");
    }
}
