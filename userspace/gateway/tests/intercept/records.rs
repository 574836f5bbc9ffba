//! What records tell of people, and what becomes of requests while there is no room for records.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::lab::{Lab, Origin, Pipe};
use crate::raw::{answer, connect, site, statuses};
use crate::requests::READ;

/// The status of the answer to a request on a connection that stays.
async fn ask(lab: &Lab, pipe: &mut Pipe, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", site(lab));
    pipe.write_all(request.as_bytes()).await.unwrap();
    pipe.flush().await.unwrap();
    let (head, _) = answer(pipe).await;
    statuses(&head)[0]
}

/// Asks until the answer has a status.
async fn until_status(lab: &Lab, pipe: &mut Pipe, status: u16) {
    while ask(lab, pipe, "/").await != status {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn g9_requests_are_refused_while_there_is_no_room_for_records() {
    let rules = format!("{READ}\n[log]\nwhen_full = \"block\"\n");
    for (origin, tls) in [
        (Origin::plain(), false),
        (Origin::default().speaking(b"http/1.1"), true),
    ] {
        let lab = Lab::before(&origin, &rules);
        lab.run(async {
            let mut pipe = connect(&lab, tls).await;
            assert_eq!(ask(&lab, &mut pipe, "/").await, 200);
            lab.set_full(true);
            until_status(&lab, &mut pipe, 503).await;
            // Whatever the rules say of it.
            assert_eq!(ask(&lab, &mut pipe, "/never").await, 503);
            lab.set_full(false);
            until_status(&lab, &mut pipe, 200).await;
            assert_eq!(ask(&lab, &mut pipe, "/never").await, 403);
        });
        let (_, requests) = lab.end();
        let of = |reason: &str| {
            let found = requests.iter().filter(|one| one["reason"] == reason);
            found.count()
        };
        // What was refused is told where there was room for it, as there was here.
        assert!(of("audit-unavailable") >= 2, "{requests:?}");
        assert_eq!(of("rule"), requests.len() - of("audit-unavailable"));
    }
}

#[test]
fn people_are_hidden_in_records_of_flows_and_requests() {
    let rules = format!(
        "[[user]]\nname = \"alice\"\naddresses = [\"127.0.0.1\"]\n{READ}\n\
         [log]\nusers = \"pseudonym\"\naddresses = \"truncate\"\nurls = \"no-query\"\n"
    );
    let lab = Lab::before(&Origin::plain(), &rules);
    lab.run(async {
        let mut pipe = connect(&lab, false).await;
        assert_eq!(ask(&lab, &mut pipe, "/x?secret=1").await, 200);
        assert_eq!(ask(&lab, &mut pipe, "/never?secret=1").await, 403);
    });
    let site = site(&lab);
    let (flows, requests) = lab.end();
    assert_eq!((flows.len(), requests.len()), (1, 2));
    let user = flows[0]["user"].as_str().unwrap();
    assert!(user.len() == 16 && user != "alice", "{user}");
    for record in flows.iter().chain(&requests) {
        assert_eq!(record["user"], user);
        assert_eq!(record["client"], "127.0.0.0:0");
    }
    assert_eq!(requests[0]["url"], format!("http://{site}/x"));
    assert_eq!(requests[1]["url"], format!("http://{site}/never"));
    assert!(requests[1]["reference"].is_string(), "{requests:?}");
}
