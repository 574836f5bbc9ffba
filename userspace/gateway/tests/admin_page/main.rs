//! The admin page and its JSON, over real sockets.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot go on ends its test, with a backtrace"
)]

mod doors;
mod lab;

use std::io::{BufRead, BufReader, Write};

use lab::{Daemon, flow, request};
use serde_json::{Value, json};
use sluice_abi::Reason;
use sluice_gateway::daemon::{
    admin::summary::Summary,
    metrics::{Tls, Verdict},
};

/// What somebody may call a host who wants the page to run it.
const EVIL: &str = "<img src=x onerror=alert(1)>.example";

#[test]
fn the_page_is_served_with_what_keeps_it_to_itself() {
    let daemon = Daemon::start("");
    for (path, kind) in [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/app.js", "text/javascript"),
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind));
        let tag = answer.header("etag").unwrap().to_owned();
        let again = daemon.ask("GET", path, &format!("If-None-Match: \"x\", {tag}\r\n"), "");
        assert_eq!((again.status, &*again.body), (304, ""), "{path}");
        let head = daemon.ask("HEAD", path, "", "");
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
    }
    for path in ["/", "/api/summary", "/metrics", "/nothing"] {
        let answer = daemon.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src \
             'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("cache-control").is_some(), "{path}");
    }
}

#[test]
fn the_page_asks_for_nothing_that_the_policy_of_content_forbids() {
    let page = include_str!("../../src/daemon/admin/page/index.html");
    let script = include_str!("../../src/daemon/admin/page/app.js");
    for forbidden in [" style=", " onclick=", "<script>", "<style", "javascript:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
    ] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
    // Namespaces are names, and no addresses.
    let script = script.replace("http://www.w3.org/2000/svg", "");
    let page = page
        .replace("http://www.w3.org/2000/svg", "")
        .replace("https://www.example.com", "");
    for text in [&*script, &*page] {
        assert!(!text.contains("http://") && !text.contains("https://"));
    }
}

#[test]
fn the_summary_tells_of_flows_reasons_rules_and_hosts() {
    let daemon = Daemon::start("");
    let summary =
        || -> Summary { serde_json::from_value(daemon.get("/api/summary").json()).unwrap() };
    let first = summary();
    assert_eq!((first.v, first.generation, first.active_flows), (1, 1, 0));
    assert!(
        first.ready && first.reasons.is_empty() && first.kernel.is_none() && first.ca.is_none()
    );
    for _ in 0..3 {
        daemon
            .metrics
            .note_flow(Verdict::Block, Reason::Rule, Tls::Hello);
    }
    daemon
        .metrics
        .note_flow(Verdict::Splice, Reason::Default, Tls::Negotiated);
    daemon.metrics.note_request(("warn", Reason::Rule));
    let hits = &daemon.shared.current.get().hits;
    hits.note_flow(sluice_policy::RuleId(0), daemon.metrics.lane);
    daemon
        .metrics
        .peek
        .note(std::time::Duration::from_millis(3));
    daemon.shared.access.put(&flow(EVIL, "10.0.0.1:5000"));
    daemon
        .shared
        .access
        .put(&flow("games.example", "10.0.0.1:5000"));
    daemon
        .shared
        .access
        .put(&flow("games.example", "10.0.0.1:5001"));
    daemon
        .shared
        .access
        .put_request(&request("https://a.example:8443/secret", &[]));
    daemon.wait_kept(4);
    let mut told = summary();
    lab::eventually("all of it is told", || {
        told = summary();
        told.reasons.len() == 2 && told.records.kept == 4
    });
    assert_eq!(told.reasons[0].verdict, "block");
    assert_eq!(
        (&*told.reasons[0].reason, told.reasons[0].flows),
        ("rule", 3)
    );
    let flows: u64 = told
        .intervals
        .iter()
        .map(|one| one.flows.values().sum::<u64>())
        .sum();
    assert_eq!(flows, 4, "{:?}", told.intervals);
    let warned: u64 = told
        .intervals
        .iter()
        .filter_map(|one| one.requests.get("warn"))
        .sum();
    assert_eq!(warned, 1);
    assert_eq!((told.rules.len(), told.rule_count), (1, 2));
    assert_eq!(
        (&*told.rules[0].name, told.rules[0].flows),
        ("no <b>games</b>", 1)
    );
    let blocked: Vec<_> = told
        .blocked_hosts
        .iter()
        .map(|one| (&*one.host, one.records))
        .collect();
    assert_eq!(blocked, [("games.example", 2), (EVIL, 1), ("a.example", 1)]);
    assert_eq!(told.decrypted_hosts.len(), 1);
    let peek = told.latencies.iter().find(|one| one.of == "peek").unwrap();
    assert!(peek.count == 1 && (0.0029..0.0031).contains(&peek.quantiles[0].seconds));
}

#[test]
fn records_are_found_page_by_page() {
    let daemon = Daemon::start("");
    let access = &daemon.shared.access;
    for number in 0..250 {
        let host = format!("h{}.example", number % 10);
        let client = format!("10.0.0.{}:5000", number % 5);
        access.put(&flow(&host, &client));
    }
    access.put_request(&request("https://news.example/secret?q=<script>", &[]));
    daemon.wait_kept(251);
    let find = |query: &str| daemon.get(&format!("/api/records?{query}")).json();
    let ids = |answer: &Value| -> Vec<u64> {
        let records = answer["records"].as_array().unwrap();
        records
            .iter()
            .map(|one| one["id"].as_u64().unwrap())
            .collect()
    };
    let all = find("");
    assert_eq!(
        (all["v"].as_u64(), all["kept"].as_u64(), &all["more"]),
        (Some(1), Some(251), &json!(true))
    );
    assert_eq!(ids(&all), (152..=251).rev().collect::<Vec<_>>());
    assert_eq!(
        all["records"][0]["record"]["url"],
        "https://news.example/secret?q=<script>"
    );
    let next = find("before=152&limit=500");
    assert_eq!(ids(&next), (1..=151).rev().collect::<Vec<_>>());
    assert_eq!(next["more"], false);
    assert_eq!(ids(&find("host=NEWS")), [251]);
    assert_eq!(
        ids(&find("host=h3.example&client=10.0.0.3&limit=2")),
        [244, 234]
    );
    assert_eq!(ids(&find("client=10.0.0.3&host=h4")), [0; 0]);
    assert_eq!(ids(&find("rule=no+secrets")), [251]);
    assert_eq!(
        ids(&find("verdict=block&reason=rule&user=ALI&limit=1")),
        [250]
    );
    assert_eq!(ids(&find("verdict=splice")), [0; 0]);
    let wrong = daemon.get("/api/records?hots=a");
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["error"].as_str().unwrap().contains("hots"));
}

#[test]
fn what_records_hide_the_page_hides_and_no_more_than_asked_is_kept() {
    let daemon = Daemon::start(
        "[log]\nformat = \"ecs\"\naddresses = \"truncate\"\nusers = \"pseudonym\"\nurls = \"host\"\n\
         [admin]\nrecent = 3\n",
    );
    for _ in 0..4 {
        daemon
            .shared
            .access
            .put(&flow("games.example", "10.0.0.77:5000"));
    }
    daemon
        .shared
        .access
        .put_request(&request("https://news.example/private", &[]));
    daemon.wait_kept(5);
    let answer = daemon.get("/api/records");
    let body = answer.json();
    assert_eq!(body["records"].as_array().unwrap().len(), 3);
    for hidden in ["10.0.0.77", "5000", "alice", "private"] {
        assert!(!answer.body.contains(hidden), "{hidden}: {}", answer.body);
    }
    // Whatever the sinks are given, these are under the project's own names.
    assert_eq!(body["records"][1]["record"]["client"], "10.0.0.0:0");
    let why = daemon.get("/api/records/4/why").json();
    assert_eq!(why["facts"].get("user"), None);
    let missing = why["missing"].to_string();
    assert!(
        missing.contains("who the user is") && missing.contains("whole address"),
        "{missing}"
    );
    assert_eq!(daemon.get("/api/records/1/why").status, 404);
    daemon.shared.access.keep_recent(0);
    assert_eq!(daemon.get("/api/records").json()["kept"], 0);
}

#[test]
fn a_record_is_judged_again_by_the_policy_in_force() {
    let daemon = Daemon::start("");
    let access = &daemon.shared.access;
    access.put(&flow("games.example", "10.0.0.1:5000"));
    access.put_request(&request("https://news.example/secret", &[]));
    daemon.wait_kept(2);
    let why = |id: u64| daemon.get(&format!("/api/records/{id}/why")).json();
    let told = why(1);
    assert_eq!(
        (&told["agrees"], &told["changed"]),
        (&json!(true), &json!(false)),
        "{told}"
    );
    assert_eq!(told["trace"]["decided"]["rule"], "no <b>games</b>");
    assert_eq!(told["trace"]["decided"]["outcome"], "block-alert");
    assert_eq!(told["answer"]["reason"], "rule");
    let stages = told["trace"]["stages"].as_array().unwrap();
    let last = stages.last().unwrap();
    assert_eq!(last["stage"], "hello");
    let conditions = &last["rules"][0]["conditions"];
    assert_eq!(conditions[0]["value"], "true");
    assert_eq!(
        (&conditions[1]["word"], &conditions[1]["value"]),
        (&json!("unless"), &json!("false"))
    );
    let told = why(2);
    assert_eq!(told["agrees"], true, "{told}");
    assert_eq!(told["trace"]["decided"]["stage"], "request");

    daemon.reload("[policy]\ndefault = \"allow\"\n");
    let told = why(1);
    assert_eq!(
        (&told["agrees"], &told["changed"]),
        (&json!(false), &json!(true)),
        "{told}"
    );
    assert_eq!(
        (told["judged_by"].as_u64(), told["generation"].as_u64()),
        (Some(1), Some(2))
    );
    assert_eq!(daemon.get("/api/records/7/why").status, 404);
    assert_eq!(daemon.get("/api/records/x/why").status, 404);
    assert_eq!(daemon.get("/api/records/1").status, 404);
}

#[test]
fn the_policy_is_asked_about_facts() {
    let daemon = Daemon::start("");
    let ask = |body: &str| daemon.ask("POST", "/api/explain", "", body);
    let told = ask(r#"{"client":"10.0.0.9","host":"games.example","tls":"hello"}"#).json();
    assert_eq!(told["answer"]["rule"], Value::Null, "{told}");
    let told = ask(r#"{"client":"10.0.0.8","host":"games.example","tls":"hello"}"#).json();
    assert_eq!(told["answer"]["outcome"], "block-alert", "{told}");
    for (body, status, message) in [
        ("", 400, "not JSON"),
        ("[1]", 400, "expected a JSON object"),
        (r#"{"hots":"a"}"#, 400, "did you mean `host`?"),
        (r#"{"tls":"maybe"}"#, 400, "unknown"),
    ] {
        let answer = ask(body);
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.body.contains(message), "{body}: {}", answer.body);
    }
    assert_eq!(ask(&"x".repeat(70 << 10)).status, 413);
    assert_eq!(daemon.get("/api/explain").status, 405);
}

#[test]
fn events_tell_the_summary_and_what_is_new() {
    let daemon = Daemon::start("");
    daemon
        .shared
        .access
        .put(&flow("old.example", "10.0.0.1:5000"));
    daemon.wait_kept(1);
    let mut stream = daemon.dial();
    write!(
        stream,
        "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n",
        daemon.address
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(
        head.iter()
            .any(|line| line == "content-type: text/event-stream"),
        "{head:?}"
    );
    let mut next = |name: &str| -> Value {
        let wanted = format!("event: {name}");
        let _event = lines.find(|line| *line == wanted).unwrap();
        let data = lines.next().unwrap();
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
    };
    assert_eq!(next("summary")["generation"], 1);
    daemon.shared.access.put(&flow(EVIL, "10.0.0.1:5000"));
    let mut news = next("records");
    // The first turn may tell what there was before.
    while news["records"][0]["record"]["sni"] != EVIL {
        news = next("records");
    }
    assert_eq!(news["records"][0]["id"], 2);
    assert!(next("summary")["uptime_seconds"].is_u64());
}
