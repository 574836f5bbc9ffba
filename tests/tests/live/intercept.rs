//! Interception by the real daemon, met by clients that people use.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Output,
};

use serde_json::Value;
use sluice_tests::family::Family;

use crate::{
    clients::Ask,
    inspected::{Inspected, RULES},
    support::{eventually, said},
    tap::{Passed, Tap},
    tools::NAME,
    web,
};

const BANK: &str = "bank.example";
const OURS: &str = "sluice lab CA";
const THEIRS: &str = "sluice lab authority";

#[test]
#[ignore = "root: cargo xtask test"]
fn curl_is_served_by_every_version_and_blocked_by_a_page() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = web::origin(gateway.lab.internet(), to, &config);
        for (options, version) in [
            (&["--http1.1", "--tls-max", "1.2"][..], "HTTP/1.1"),
            (&["--http1.1", "--tlsv1.3"], "HTTP/1.1"),
            (&["--http2", "--tls-max", "1.2"], "HTTP/2"),
            (&["--http2", "--tlsv1.3"], "HTTP/2"),
        ] {
            let what = format!("{family:?}, {options:?}");
            let ask = Ask {
                lab: &gateway.lab,
                host: NAME,
                to,
                ca: &gateway.ca,
                path: "/today",
            };
            let served = said(&ask.curl(options));
            assert!(
                served.starts_with(&format!("{version} 200")),
                "{what}: {served}"
            );
            assert!(served.contains("the news of /today by"), "{what}: {served}");
            let ask = Ask {
                path: "/x/../secret/plans?a=b",
                ..ask
            };
            let blocked = said(&ask.curl(options));
            assert!(
                blocked.starts_with(&format!("{version} 403")),
                "{what}: {blocked}"
            );
            is_page(&what, &blocked);
        }
    }
    let flow = gateway.record("a flow that was decrypted", |one| {
        one["verdict"] == "intercept" && one["sni"] == NAME
    });
    assert_eq!(flow["decrypted"], true, "{flow}");
    assert_eq!(flow["end"], "finished", "{flow}");
    let blocked = gateway.record("a blocked request", |one| one["verdict"] == "block");
    assert_eq!(blocked["rule"], "no secrets", "{blocked}");
    assert_eq!(blocked["status"], 403);
    let url = blocked["url"].as_str().unwrap();
    assert_eq!(url, format!("https://{NAME}/secret/plans?a=b"));
}

#[test]
#[ignore = "root: cargo xtask test"]
fn other_clients_verify_the_leaf_and_read_answers_and_pages() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = web::origin(gateway.lab.internet(), to, &config);
        let ask = |path| Ask {
            lab: &gateway.lab,
            host: NAME,
            to,
            ca: &gateway.ca,
            path,
        };
        for (client, of) in [
            ("openssl", &openssl_12 as &dyn Fn(&Ask<'_>) -> Output),
            ("openssl", &openssl_13),
            ("gnutls", &|ask: &Ask<'_>| ask.gnutls()),
            ("python", &|ask: &Ask<'_>| ask.python()),
        ] {
            let what = format!("{family:?}, {client}");
            let served = said(&of(&ask("/today")));
            assert!(
                served.contains("the news of /today by HTTP/1.1"),
                "{what}: {served}"
            );
            match client {
                "openssl" => {
                    assert!(served.contains("Verify return code: 0 (ok)"), "{served}");
                    assert!(issuer_of(&served).contains(OURS), "{what}: {served}");
                }
                "gnutls" => {
                    assert!(served.contains("The certificate is trusted."), "{served}");
                    assert!(served.contains(&format!("issuer `CN={OURS}")), "{served}");
                }
                _ => {}
            }
            let blocked = said(&of(&ask("/secret")));
            assert!(blocked.contains("403"), "{what}: {blocked}");
            is_page(&what, &blocked);
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn e7_a_session_is_resumed_by_the_same_client_to_the_same_place() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    let (here, there) = (Family::V4.origin_at(5, 443), Family::V4.origin_at(6, 443));
    let _here = web::origin(gateway.lab.internet(), here, &config);
    let another = web::modern(&gateway.pki, &[NAME]);
    let _there = web::origin(gateway.lab.internet(), there, &another);
    let bind = format!("{}:0", Family::V4.other());
    for version in ["-tls1_2", "-tls1_3"] {
        let file = gateway.lab.dir().join("session");
        let file = file.to_str().unwrap();
        let ask = Ask {
            lab: &gateway.lab,
            host: NAME,
            to: here,
            ca: &gateway.ca,
            path: "/today",
        };
        let other = Ask { to: there, ..ask };
        for (ask, options, how) in [
            (&ask, &["-sess_out", file][..], "New, "),
            (&ask, &["-sess_in", file], "Reused, "),
            // Another client's, and that of an origin with another certificate, are of no use.
            (&ask, &["-bind", &bind, "-sess_in", file], "New, "),
            (&other, &["-sess_in", file], "New, "),
        ] {
            let served = said(&ask.openssl(&[&[version], options].concat()));
            assert!(served.contains("the news of /today"), "{version}: {served}");
            assert!(served.contains(how), "{version} {options:?}: {served}");
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_is_spliced_shows_the_origin_s_own_certificate() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[BANK]);
    for family in Family::ALL {
        let to = family.origin_at(6, 443);
        let _origin = web::origin(gateway.lab.internet(), to, &config);
        let ask = Ask {
            lab: &gateway.lab,
            host: BANK,
            to,
            ca: &gateway.roots,
            path: "/secret",
        };
        let served = said(&ask.openssl(&[]));
        assert!(served.contains("the news of /secret"), "{served}");
        assert!(served.contains("Verify return code: 0 (ok)"), "{served}");
        assert!(issuer_of(&served).contains(THEIRS), "{served}");
        let served = said(&ask.curl(&["--http2"]));
        assert!(served.starts_with("HTTP/2 200"), "{served}");
        // Who trusts the gateway's CA alone sees that it is not in between.
        let alone = Ask {
            ca: &gateway.ca,
            ..ask
        };
        assert_eq!(alone.curl(&[]).status.code(), Some(60));
    }
    let flow = gateway.record("a spliced flow", |one| one["sni"] == BANK);
    assert_eq!(flow["verdict"], "splice", "{flow}");
    assert_eq!(flow["rule"], "never");
    assert_eq!(flow["decrypted"], false);
    assert_eq!(flow["interception"], Value::Null);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn d15_a_pinned_client_fails_by_itself_and_a_rule_decides_its_next_attempt() {
    const REFUSED: i32 = 60;
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = web::origin(gateway.lab.internet(), to, &config);
        let pinned = Ask {
            lab: &gateway.lab,
            host: NAME,
            to,
            ca: &gateway.roots,
            path: "/today",
        };
        let first = pinned.curl(&[]);
        assert_eq!(first.status.code(), Some(REFUSED), "{}", said(&first));
        assert!(
            said(&first).contains("SSL certificate problem"),
            "{}",
            said(&first)
        );
        let destination = to.to_string();
        let refused = gateway.record("the refused leaf", |one| {
            one["destination"] == destination && one["end"] == "client-rejected-ca"
        });
        assert_eq!(refused["decrypted"], false, "{refused}");
        assert_eq!(refused["interception"]["alert"], "unknown_ca");
        let second = said(&pinned.curl(&[]));
        assert!(second.contains("the news of /today"), "{second}");
        let spliced = gateway.record("the next attempt", |one| {
            one["destination"] == destination && one["verdict"] == "splice"
        });
        assert_eq!(spliced["tls"], "client-rejected-ca", "{spliced}");
        assert_eq!(spliced["rule"], "pinned");
        assert_eq!(spliced["decrypted"], false);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn d15_a_pinned_client_is_never_let_through_without_a_rule() {
    let rules = RULES.replace("client-rejected-ca", "silent");
    let gateway = Inspected::new(&rules);
    let config = web::modern(&gateway.pki, &[NAME]);
    let to = Family::V4.origin_at(5, 443);
    let _origin = web::origin(gateway.lab.internet(), to, &config);
    let pinned = Ask {
        lab: &gateway.lab,
        host: NAME,
        to,
        ca: &gateway.roots,
        path: "/today",
    };
    for attempt in 1..=3 {
        let refused = pinned.curl(&[]);
        assert_eq!(refused.status.code(), Some(60), "{attempt}");
    }
    let metrics = gateway.sluice.metrics();
    assert_eq!(metrics.sum("sluice_rejected_leaves_total", &[]), 3.0);
}

/// Promise 7 of the product's class: what is not intercepted is the same to the byte on both legs,
/// and the record says which it was.
#[test]
#[ignore = "root: cargo xtask test"]
fn both_legs_are_equal_to_the_byte_unless_the_record_says_decrypted() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME, BANK]);
    for family in Family::ALL {
        let (origin, serving) = (family.origin_at(5, 443), family.origin_at(5, 8443));
        let _server = web::origin(gateway.lab.internet(), serving, &config);
        let far = Tap::new(gateway.lab.internet(), origin, serving);
        let here = match family {
            Family::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            Family::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 8443)),
        };
        let near = Tap::new(gateway.lab.client(), here, origin);
        let mut asked = 0;
        for (host, ca, decrypted) in [(BANK, &gateway.roots, false), (NAME, &gateway.ca, true)] {
            for options in [
                &["--http1.1", "--tls-max", "1.2"][..],
                &["--http1.1", "--tlsv1.3"],
                &["--http2", "--tls-max", "1.2"],
                &["--http2", "--tlsv1.3"],
            ] {
                let ask = Ask {
                    lab: &gateway.lab,
                    host,
                    to: here,
                    ca,
                    path: "/today",
                };
                let answer = said(&ask.curl(options));
                assert!(answer.contains("the news of /today"), "{answer}");
                asked += 1;
                eventually("the connection over on both sides", || {
                    near.passed().len() == asked && far.passed().len() == asked
                });
                let what = format!("{family:?}, {host}, {options:?}");
                let legs = (near.passed().pop().unwrap(), far.passed().pop().unwrap());
                compare(&what, &legs, decrypted);
            }
            let destination = origin.to_string();
            let fits = |one: &Value| one["destination"] == destination && one["sni"] == host;
            let record = gateway.record("its record", fits);
            assert_eq!(record["decrypted"], decrypted, "{record}");
            assert_eq!(record["interception"].is_object(), decrypted, "{record}");
        }
    }
}

#[track_caller]
fn compare(what: &str, (near, far): &(Passed, Passed), decrypted: bool) {
    // Type, version and length of a record, the handshake's type and length, version, random.
    const RANDOM: std::ops::Range<usize> = 11..43;
    assert!(near.from_client.len() > 200 && near.from_server.len() > 500);
    if decrypted {
        for (near, far) in [
            (&near.from_client, &far.from_client),
            (&near.from_server, &far.from_server),
        ] {
            assert_ne!(near[RANDOM], far[RANDOM], "{what}: one handshake, not two");
        }
    } else {
        assert!(near == far, "{what}: the legs differ");
    }
}

fn openssl_12(ask: &Ask<'_>) -> Output {
    ask.openssl(&["-tls1_2"])
}

fn openssl_13(ask: &Ask<'_>) -> Output {
    ask.openssl(&["-tls1_3"])
}

/// The issuer of the leaf, as `s_client` prints it.
fn issuer_of(said: &str) -> &str {
    said.lines()
        .find_map(|line| line.strip_prefix("issuer="))
        .unwrap_or_default()
}

#[track_caller]
fn is_page(what: &str, answer: &str) {
    for text in ["no secrets", "Ask &lt;the help desk&gt;."] {
        let plain = text.replace("&lt;", "<").replace("&gt;", ">");
        assert!(
            answer.contains(text) || answer.contains(&plain),
            "{what}: {answer}"
        );
    }
}
