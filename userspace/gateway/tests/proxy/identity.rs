//! Who a client of a proxy is.

use std::sync::atomic::Ordering;

use crate::gateway::{ALLOW, Gateway, mirror};
use crate::lab::{NAME, Origin};

fn mirroring() -> Origin {
    Origin::plain().scripted(|pipe, connections| async move {
        connections.fetch_add(1, Ordering::SeqCst);
        mirror(pipe).await;
    })
}

const REQUIRED: &str = "identify = [\"test\"]";

fn get(site: &str, who: &str) -> String {
    let who = match who {
        "" => String::new(),
        who => format!("Proxy-Authorization: {who}\r\n"),
    };
    format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n{who}\r\n")
}

fn connect(site: &str, who: &str) -> String {
    let who = match who {
        "" => String::new(),
        who => format!("Proxy-Authorization: {who}\r\n"),
    };
    format!("CONNECT {site} HTTP/1.1\r\nUser-Agent: x\r\n{who}\r\n")
}

#[test]
fn a_client_is_asked_and_then_served_on_the_same_connection() {
    let gateway = Gateway::new(&mirroring(), REQUIRED, ALLOW).asking();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for request in [get(&site, ""), connect(&site, "")] {
            let answer = client.ask(request).await;
            assert_eq!(answer.status, 407);
            let challenges = ["Better realm=\"lab\"", "Test realm=\"lab\""];
            assert_eq!(answer.fields("proxy-authenticate"), challenges);
            assert_eq!(answer.fields("connection"), Vec::<&str>::new());
        }
        let answer = client.ask(get(&site, "Test alice")).await;
        assert_eq!(answer.status, 200);
        let seen = answer.body.to_lowercase();
        assert!(!seen.contains("proxy-authorization"), "{seen}");
        let answer = client.ask(connect(&site, "Test alice")).await;
        assert_eq!(answer.status, 200);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.send("Content-Length: 0\r\n\r\n").await;
        assert_eq!(client.head().await.status, 200);
    });
    let asked = &gateway.lab.metrics.asked_for_credentials;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let (flows, requests) = gateway.end();
    assert_eq!(flows[0]["user"], "alice");
    let users: Vec<_> = requests.iter().map(|one| one["user"].clone()).collect();
    assert_eq!(
        users,
        [None, None, Some("alice")].map(serde_json::Value::from)
    );
    assert_eq!(requests[0]["reason"], "no-credentials");
    assert_eq!(requests[0]["status"], 407);
}

#[test]
fn who_made_one_request_says_nothing_of_the_next() {
    let gateway = Gateway::new(&mirroring(), REQUIRED, ALLOW).asking();
    let connections = gateway.lab.requests.clone();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.ask(get(&site, "Test alice")).await.status, 200);
        assert_eq!(client.ask(get(&site, "")).await.status, 407);
        assert_eq!(client.ask(get(&site, "Test mallory")).await.status, 407);
        assert_eq!(client.ask(get(&site, "Test alice")).await.status, 200);
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        // What the origin knows of a connection is of one user.
        assert_eq!(client.ask(get(&site, "Test bob")).await.status, 200);
        assert_eq!(connections.load(Ordering::SeqCst), 2);
        assert_eq!(client.ask(get(&site, "Test alice")).await.status, 200);
        assert_eq!(connections.load(Ordering::SeqCst), 3);
        // Pipelined ones are told apart, too.
        let all = ["Test bob", "", "Test alice"].map(|who| get(&site, who));
        client.send(all.concat()).await;
        for status in [200, 407, 200] {
            assert_eq!(client.answer().await.status, status);
        }
    });
    gateway.end();
}

#[test]
fn credentials_that_do_not_count_are_told_apart() {
    let gateway = Gateway::new(&mirroring(), REQUIRED, ALLOW).asking();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for (who, status) in [
            ("Test mallory", 407),
            ("Test again", 407),
            ("Test slow", 503),
            ("Test down", 503),
            ("Basic !!!not base64", 407),
            ("\u{e9}", 407),
            (" ", 407),
        ] {
            for request in [get(&site, who), connect(&site, who)] {
                let answer = client.ask(request).await;
                assert_eq!(answer.status, status, "{who:?}: {answer:?}");
                match who {
                    "Test again" => {
                        assert_eq!(answer.fields("proxy-authenticate"), ["Test more"]);
                    }
                    "Test slow" => assert_eq!(answer.fields("retry-after"), ["30"]),
                    _ => {}
                }
            }
        }
        // Of two any might be meant.
        let twice = get(&site, "Test alice\r\nProxy-Authorization: Test bob");
        assert_eq!(client.ask(twice).await.status, 400);
    });
    gateway.end();
}

#[test]
fn nobody_is_asked_where_the_rules_do_not_need_it() {
    let rules = format!(
        "{ALLOW}\
         [[rule]]\nname = \"never\"\nwhen = {{ connect-host = \"loop.example\" }}\naction = \"block\"\n\
         [[rule]]\nname = \"free\"\nwhen = {{ host = \"{NAME}\" }}\naction = \"allow\"\n\
         [[rule]]\nname = \"for alice\"\nwhen = {{ user = \"alice\" }}\naction = \"allow\"\n\
         [[rule]]\nname = \"rest\"\naction = \"block\"\n"
    );
    let keys = "identify = [\"test\"]\nidentity = \"when-needed\"";
    let gateway = Gateway::new(&mirroring(), keys, &rules).asking();
    let (free, other) = (gateway.site(NAME), gateway.site("other.example"));
    let never = gateway.site("loop.example");
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.ask(get(&free, "")).await.status, 200);
        assert_eq!(client.ask(get(&other, "")).await.status, 407);
        assert_eq!(client.ask(get(&other, "Test alice")).await.status, 200);
        assert_eq!(client.ask(get(&other, "Test bob")).await.status, 403);
        assert_eq!(client.ask(connect(&never, "")).await.status, 403);
        assert_eq!(client.ask(connect(&other, "")).await.status, 407);
        assert_eq!(client.ask(connect(&other, "Test alice")).await.status, 200);
    });
    gateway.end();
}

#[test]
fn nobody_is_asked_whom_nobody_could_tell() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW).asking();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        // What it shows nevertheless is looked at by nobody, and shown to nobody.
        for who in ["", "Test mallory"] {
            let answer = client.ask(get(&site, who)).await;
            assert_eq!(answer.status, 200);
            assert!(!answer.body.contains("mallory"), "{answer:?}");
        }
    });
    let (_, requests) = gateway.end();
    assert!(requests.iter().all(|request| request["user"].is_null()));
}

#[test]
fn groups_come_with_who_one_is() {
    let rules = format!(
        "{ALLOW}[[group]]\nname = \"staff\"\nmembers = []\n\
         [[rule]]\nname = \"staff only\"\nunless = {{ group = \"staff\" }}\naction = \"block\"\n"
    );
    let gateway = Gateway::new(&mirroring(), REQUIRED, &rules).asking();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.ask(get(&site, "Test alice")).await.status, 403);
        assert_eq!(client.ask(get(&site, "Test bob")).await.status, 200);
        assert_eq!(client.ask(connect(&site, "Test alice")).await.status, 403);
        assert_eq!(client.ask(connect(&site, "Test bob")).await.status, 200);
    });
    gateway.end();
}

/// Where clients come from is known to be carol's.
const CAROL: &str = "[[user]]\nname = \"carol\"\naddresses = [\"127.0.0.1\"]\n";

#[test]
fn whom_an_address_stands_for_is_known_before_or_after_credentials() {
    let rules = format!("{ALLOW}{CAROL}");
    for (identify, shown, who) in [
        ("[\"address\", \"test\"]", "", "carol"),
        ("[\"address\", \"test\"]", "Test alice", "carol"),
        ("[\"test\", \"address\"]", "", "carol"),
        ("[\"test\", \"address\"]", "Test alice", "alice"),
        ("[\"address\"]", "Test alice", "carol"),
        ("[\"test\"]", "Test alice", "alice"),
    ] {
        let keys = format!("identify = {identify}");
        let gateway = Gateway::new(&mirroring(), &keys, &rules).asking();
        let site = gateway.site(NAME);
        gateway.lab.run(async {
            let answer = gateway.dial().await.ask(get(&site, shown)).await;
            assert_eq!(answer.status, 200, "{identify}: {answer:?}");
        });
        let (_, requests) = gateway.end();
        assert_eq!(requests[0]["user"], who, "{identify}, {shown:?}");
    }
    // An address is no reason to believe what is wrong, nor to answer for one that nobody has.
    for (identify, rules, shown, status) in [
        (
            "[\"test\", \"address\"]",
            rules.as_str(),
            "Test mallory",
            407,
        ),
        ("[\"test\"]", rules.as_str(), "", 407),
        ("[\"address\", \"test\"]", ALLOW, "", 407),
    ] {
        let keys = format!("identify = {identify}");
        let gateway = Gateway::new(&mirroring(), &keys, rules).asking();
        let site = gateway.site(NAME);
        gateway.lab.run(async {
            let answer = gateway.dial().await.ask(get(&site, shown)).await;
            assert_eq!(answer.status, status, "{identify}: {answer:?}");
        });
        gateway.end();
    }
}

#[test]
fn nothing_is_asked_for_where_the_address_alone_tells() {
    let gateway = Gateway::new(&mirroring(), "identify = [\"address\"]", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for request in [get(&site, ""), connect(&site, "")] {
            let answer = client.ask(request).await;
            assert_eq!(answer.status, 403, "{answer:?}");
            assert_eq!(answer.fields("proxy-authenticate"), Vec::<&str>::new());
        }
    });
    let (_, requests) = gateway.end();
    assert_eq!(requests[0]["reason"], "no-credentials");
}

#[test]
fn a_member_by_address_is_not_asked_who_it_is() {
    let rules = |members: &str| {
        format!(
            "{ALLOW}[[group]]\nname = \"staff\"\nmembers = [\"alice\", \"{members}\"]\n\
             [[rule]]\nname = \"staff only\"\nwhen = {{ tls = \"not-negotiated\" }}\n\
             unless = {{ group = \"staff\" }}\naction = \"block\"\n\
             [[rule]]\nname = \"staff\"\nwhen = {{ group = \"staff\", tls = \"not-negotiated\" }}\n\
             action = \"allow\"\n"
        )
    };
    let keys = "identify = [\"test\"]\nidentity = \"when-needed\"";
    for (members, status) in [("127.0.0.1", 200), ("127.0.0.9", 407)] {
        let gateway = Gateway::new(&mirroring(), keys, &rules(members)).asking();
        let site = gateway.site(NAME);
        gateway.lab.run(async {
            let answer = gateway.dial().await.ask(connect(&site, "")).await;
            assert_eq!(answer.status, status, "{members}: {answer:?}");
        });
        gateway.end();
    }
}

#[test]
fn a_client_whose_connection_ends_with_the_refusal_hears_all_of_it() {
    let rules = format!("{ALLOW}[[rule]]\nname = \"never\"\naction = {{ block = \"page\" }}\n");
    let gateway = Gateway::new(&mirroring(), "", &rules);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        for (version, more) in [("1.0", ""), ("1.1", "Connection: close\r\n")] {
            let mut client = gateway.dial().await;
            let request = format!("CONNECT {site} HTTP/{version}\r\nUser-Agent: x\r\n{more}\r\n");
            let answer = client.ask(request).await;
            assert_eq!(answer.status, 403, "{version}: {answer:?}");
            assert!(answer.body.contains("never"), "{version}: {answer:?}");
            assert_eq!(client.rest().await, (Vec::new(), true), "{version}");
        }
    });
    gateway.end();
}
