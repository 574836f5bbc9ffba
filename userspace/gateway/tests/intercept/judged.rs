//! What rules do with requests: warnings, blocks of every kind, pages, and what records say.

use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::h2::{END_HEADERS, END_STREAM, H2, HEADERS, Outcome, fields, frame};
use crate::lab::{Client, INSPECT, Lab, NAME, Origin, Pipe};
use crate::raw::{answer, connect, rest, site, statuses, until};

const H1: [&[u8]; 1] = [b"http/1.1"];
const CONTINUE: &str = "/.well-known/sluice/continue";

/// What a browser sends with a navigation.
const NAVIGATES: &str =
    "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

/// One request on a connection of its own: the head and the body of its answer.
fn ask(lab: &Lab, client: &Client, line: &str, fields: &str, body: &str) -> (String, String) {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let text = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\n{fields}{length}\r\n{body}",
        site(lab)
    );
    lab.run(async {
        let mut pipe: Pipe = Box::new(client.connect(lab).await.unwrap());
        pipe.write_all(text.as_bytes()).await.unwrap();
        answer(&mut pipe).await
    })
}

/// The value of a hidden field of a page's form.
fn hidden(page: &str, name: &str) -> String {
    let at = page
        .find(&format!("name=\"{name}\""))
        .unwrap_or_else(|| panic!("{page}"));
    let value = &page[at..];
    let value = &value[value.find("value=\"").unwrap() + 7..];
    value[..value.find('"').unwrap()].to_owned()
}

/// Posts the form of a warning's page as a browser does.
fn go_on(lab: &Lab, client: &Client, token: &str) -> (String, String) {
    let fields = format!(
        "Origin: https://{}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n\
         Sec-Fetch-User: ?1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        site(lab)
    );
    let body = format!("token={token}&return_to=%2Fgames%3Fa%3Db");
    ask(lab, client, &format!("POST {CONTINUE}"), &fields, &body)
}

#[test]
fn a_warning_about_requests_is_continued_from_once_per_visitor() {
    let lab = Lab::new(&format!(
        "[[rule]]\nname = \"look\"\nwhen = {{ host = \"{NAME}\" }}\naction = \"inspect\"\n\
         [[rule]]\nname = \"games\"\nwhen = {{ path = \"/games\" }}\naction = {{ warn = \"1h\" }}\n\
         [[rule]]\nname = \"rest\"\naction = \"allow\"\n"
    ));
    let client = lab.trusting_gateway().offering(&H1);
    let other = client.clone().from([127, 0, 0, 2]);
    let warned = |client: &Client, fields: &str| ask(&lab, client, "GET /games?a=b", fields, "");
    let (head, page) = warned(&client, NAVIGATES);
    assert_eq!(statuses(&head), [403]);
    let token = hidden(&page, "token");
    // A program is shown no form.
    let (head, text) = warned(&client, "Accept: */*\r\n");
    assert_eq!(statuses(&head), [403]);
    assert!(!text.contains(&token) && !text.contains("name=\"token\""));
    assert_eq!(statuses(&ask(&lab, &client, "GET /other", "", "").0), [200]);

    // Neither invented nor another's.
    let mut forged = token.clone().into_bytes();
    let last = forged.len() - 1;
    forged[last] = if forged[last] == b'0' { b'1' } else { b'0' };
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(statuses(&go_on(&lab, &client, &forged).0), [403]);
    assert_eq!(statuses(&go_on(&lab, &other, &token).0), [403]);
    assert_eq!(statuses(&warned(&client, NAVIGATES).0), [403]);
    assert_eq!(
        statuses(&ask(&lab, &client, &format!("GET {CONTINUE}"), "", "").0),
        [405]
    );

    let (head, _) = go_on(&lab, &client, &token);
    assert_eq!(statuses(&head), [303], "{head}");
    let location = format!("location: https://{}/games?a=b\r\n", site(&lab));
    assert!(head.to_lowercase().contains(&location), "{head}");
    assert_eq!(statuses(&warned(&client, "").0), [200]);
    assert_eq!(
        statuses(&warned(&other, NAVIGATES).0),
        [403],
        "another visitor"
    );
    assert_eq!(lab.requests.load(Ordering::SeqCst), 2);
    lab.over(10);
    let (_, requests) = lab.end();
    assert_eq!(requests.len(), 10);
    let warnings = requests.iter().filter(|one| one["verdict"] == "warn");
    assert!(warnings.clone().all(|one| one["reason"] == "warned"));
    assert_eq!(
        warnings
            .clone()
            .filter(|one| one["rule"] == "games")
            .count(),
        4
    );
}

#[test]
fn a_flow_is_spliced_once_its_warning_was_continued_from() {
    let lab = Lab::new(&format!(
        "[[rule]]\nname = \"games\"\nwhen = {{ host = \"{NAME}\" }}\naction = {{ warn = \"1h\" }}\n\
         [[rule]]\nname = \"rest\"\naction = \"allow\"\n"
    ));
    let client = lab.trusting_gateway().offering(&H1);
    let (head, page) = ask(&lab, &client, "GET /games?a=b", NAVIGATES, "");
    assert_eq!(statuses(&head), [403]);
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    let mut h2 = lab.run(H2::connect(&lab, &[0, 1, 0, 0, 0, 0]));
    let (head, _) = go_on(&lab, &client, &hidden(&page, "token"));
    assert_eq!(statuses(&head), [303], "{head}");
    // This connection shows nothing but the page.
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    // Nor does another that is open still.
    lab.run(async {
        let block = fields(&lab, "GET", "/games", &[]);
        h2.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .await;
        assert_eq!(h2.outcome(1).await, Outcome::Answer(421));
        drop(h2);
    });
    lab.over(3);
    // The next one is the origin's own.
    let through = lab.trusting_origins();
    assert_eq!(lab.run(through.get(&lab, "/games")).unwrap().status(), 200);
    let other = client.from([127, 0, 0, 2]);
    assert_eq!(
        statuses(&ask(&lab, &other, "GET /games", NAVIGATES, "").0),
        [403]
    );
    lab.over(5);
    let (flows, _) = lab.end();
    let verdicts: Vec<_> = flows.iter().map(|flow| flow["verdict"].clone()).collect();
    assert_eq!(verdicts, ["block", "block", "block", "splice", "block"]);
    assert_eq!(flows[3]["decrypted"], false);
}

#[test]
fn pages_keep_the_connection_and_have_no_body_for_head() {
    let rules = "[[rule]]\nname = \"closed\"\naction = { block = \"page\" }\n";
    let lab = Lab::new(rules);
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        let line = |method: &str| format!("{method} /a HTTP/1.1\r\nHost: {}\r\n\r\n", site(&lab));
        for _ in 0..2 {
            pipe.write_all(line("GET").as_bytes()).await.unwrap();
            let (head, body) = answer(&mut pipe).await;
            assert_eq!(statuses(&head), [403]);
            assert!(body.contains("closed"), "{body}");
            // What follows a HEAD's head is the next answer.
            pipe.write_all((line("HEAD") + &line("OPTIONS")).as_bytes())
                .await
                .unwrap();
            let head = until(&mut pipe, "\r\n\r\n").await;
            assert_eq!(statuses(&head), [403]);
            let (head, body) = answer(&mut pipe).await;
            assert!(head.starts_with("HTTP/1.1 403"), "{head}");
            assert!(body.contains("closed"), "{body}");
        }
    });
    lab.over(1);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["interception"]["requests"], 6);
    assert_eq!(requests.len(), 6);
}

#[test]
fn blocks_of_requests_are_pages_or_the_connection_s_end() {
    let lab = Lab::before(
        &Origin::default().speaking(b"http/1.1"),
        "[[rule]]\nname = \"cut\"\nwhen = { path = \"/reset\" }\naction = { block = \"reset\" }\n\
         [[rule]]\nname = \"alarm\"\nwhen = { path = \"/alert\" }\naction = { block = \"alert\" }\n\
         [[rule]]\nname = \"rest\"\naction = \"allow\"\n",
    );
    let text = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", site(&lab));
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        for (path, status) in [("/a", 200), ("/alert", 403), ("/b", 200)] {
            pipe.write_all(text(path).as_bytes()).await.unwrap();
            assert_eq!(statuses(&answer(&mut pipe).await.0), [status], "{path}");
        }
        pipe.write_all((text("/reset") + &text("/c")).as_bytes())
            .await
            .unwrap();
        assert_eq!(rest(&mut pipe).await, "");
    });
    assert_eq!(lab.requests.load(Ordering::SeqCst), 2);
    lab.over(1);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["end"], "rule");
    let told = |at: usize, key: &str| requests[at][key].clone();
    assert_eq!(
        (told(1, "rule"), told(1, "status")),
        ("alarm".into(), 403.into())
    );
    assert_eq!(
        (told(3, "rule"), told(3, "status")),
        ("cut".into(), Value::Null)
    );
    assert_eq!(told(3, "verdict"), "block");
}

#[test]
fn records_of_requests_say_users_and_tags_or_nothing() {
    let lab = Lab::new(&format!(
        "[[user]]\nname = \"alice\"\naddresses = [\"127.0.0.1\"]\n\
         [[rule]]\nname = \"private\"\nwhen = {{ path = \"/private\" }}\naction = \"no-log\"\n\
         [[rule]]\nname = \"mail\"\nwhen = {{ path = \"/mail\" }}\naction = {{ tag = \"mail\" }}\n\
         [[rule]]\nname = \"alice's\"\nwhen = {{ user = \"alice\" }}\naction = {{ tag = \"alice\" }}\n{INSPECT}"
    ));
    let client = lab.trusting_gateway().offering(&H1);
    for path in ["/private/diary", "/mail/1", "/open"] {
        assert_eq!(
            statuses(&ask(&lab, &client, &format!("GET {path}"), "", "").0),
            [200]
        );
    }
    // What is refused before a rule could see it is told by what is known of the flow.
    let (head, _) = ask(&lab, &client, "GET /a\tb", "", "");
    assert_eq!(statuses(&head), [400]);
    let other = client.from([127, 0, 0, 2]);
    ask(&lab, &other, "GET /open", "", "");
    lab.over(5);
    let (flows, requests) = lab.end();
    assert_eq!(flows.len(), 5);
    let told: Vec<_> = requests
        .iter()
        .map(|one| {
            (
                one["user"].clone(),
                one["tags"].clone(),
                one["status"].clone(),
            )
        })
        .collect();
    let tags = |tags: &[&str]| Value::from(tags);
    assert_eq!(
        told,
        [
            ("alice".into(), tags(&["mail", "alice"]), 200.into()),
            ("alice".into(), tags(&["alice"]), 200.into()),
            ("alice".into(), tags(&["alice"]), 400.into()),
            (Value::Null, tags(&[]), 200.into()),
        ]
    );
}

#[test]
fn a_flow_of_which_nothing_is_written_has_no_records_of_requests() {
    let lab = Lab::new(&format!(
        "[[rule]]\nname = \"private\"\nwhen = {{ host = \"{NAME}\" }}\naction = \"no-log\"\n{INSPECT}"
    ));
    let client = lab.trusting_gateway().offering(&H1);
    assert_eq!(statuses(&ask(&lab, &client, "GET /", "", "").0), [200]);
    assert_eq!(statuses(&ask(&lab, &client, "GET /a\tb", "", "").0), [400]);
    lab.over(2);
    let (flows, requests) = lab.end();
    assert!(
        flows.is_empty() && requests.is_empty(),
        "{flows:?} {requests:?}"
    );
}

#[test]
fn a_warning_in_the_clear_is_continued_from_by_a_browser_that_says_where_it_comes_from() {
    let lab = Lab::before(
        &Origin::plain(),
        "[[rule]]\nname = \"games\"\nwhen = { path = \"/games\" }\naction = { warn = \"1h\" }\n\
         [[rule]]\nname = \"rest\"\naction = \"allow\"\n",
    );
    let site = site(&lab);
    lab.run(async {
        let mut pipe = connect(&lab, false).await;
        let get = format!("GET /games HTTP/1.1\r\nHost: {site}\r\nAccept: text/html\r\n\r\n");
        pipe.write_all(get.as_bytes()).await.unwrap();
        let (head, page) = answer(&mut pipe).await;
        assert_eq!(statuses(&head), [403]);
        let body = format!("token={}&return_to=%2Fgames", hidden(&page, "token"));
        for (origin, status) in [
            (String::new(), 403),
            ("Origin: null\r\n".into(), 403),
            ("Origin: http://other.example\r\n".into(), 403),
            (format!("Origin: http://{site}\r\n"), 303),
        ] {
            let post = format!(
                "POST {CONTINUE} HTTP/1.1\r\nHost: {site}\r\n{origin}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            pipe.write_all(post.as_bytes()).await.unwrap();
            let (head, _) = answer(&mut pipe).await;
            assert_eq!(statuses(&head), [status], "{origin}");
        }
        // The same connection goes on, since requests are judged one by one.
        pipe.write_all(get.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut pipe).await;
        assert_eq!(statuses(&head), [200]);
        assert!(body.starts_with("GET "), "{body}");
    });
    assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
}
