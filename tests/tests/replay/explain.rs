//! `sluice explain --capture` and `sluice diff --flows` over a capture.

use std::process::{Command, Output};

use serde_json::Value;
use sluice_tests::{
    family::Family,
    hello,
    packet::{Tcp, flag},
    pcap::{Capture, Format, Link},
    sluice::sluice_binary,
};

use crate::{
    command,
    program::{self, Folder},
    story::{self, Cast},
};

const OLD: &str = r#"
[gateway]
lan = ["lan0"]
[policy]
default = "allow"
default_unidentified = "allow"
[[rule]]
name = "no old hellos"
when = { tls = "sslv2-hello" }
action = { block = "alert" }
"#;

fn sluice(args: &[&str]) -> Output {
    Command::new(sluice_binary()).args(args).output().unwrap()
}

/// What the program said, having ended with this exit code.
#[track_caller]
fn told(args: &[&str], code: i32) -> String {
    let output = sluice(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    if code == 2 {
        return stderr;
    }
    assert_eq!(stderr, "");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with the policy and the four flows, and their paths.
fn scene() -> (Folder, String, String) {
    let folder = Folder::new();
    let path = |name, bytes: &[u8]| folder.file(name, bytes).to_str().unwrap().to_owned();
    let policy = path("old.toml", OLD.as_bytes());
    let capture = path("four.pcap", command::capture(Format::Ng).bytes());
    (folder, policy, capture)
}

fn object(text: &str) -> Value {
    serde_json::from_str(text.trim_end()).unwrap()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn several_flows_are_listed_by_the_numbers_that_explain_them() {
    let (_folder, policy, capture) = scene();
    let explain = ["explain", "--config", &policy, "--capture", &capture];
    let list = told(&explain, 0);
    let replayed = program::lines(capture.as_ref(), &["--config", &policy]);
    let numbered: Vec<_> = (1..)
        .zip(&replayed)
        .map(|(number, line)| format!("{number:>5}  {line}"))
        .collect();
    assert_eq!(list.lines().collect::<Vec<_>>(), numbered);

    let list = told(&[&explain[..], &["--json"]].concat(), 0);
    let replayed = program::objects(capture.as_ref(), &["--config", &policy]);
    assert_eq!(list.lines().count(), replayed.len());
    for ((number, line), mut flow) in (1..).zip(list.lines()).zip(replayed) {
        flow["number"] = number.into();
        assert_eq!(object(line), flow);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_flow_is_explained_as_its_facts_are() {
    let (_folder, policy, capture) = scene();
    let explain = ["explain", "--config", &policy];
    for (number, facts) in [
        (
            "1",
            &[
                "--host",
                "news.example",
                "--client",
                "10.77.0.20",
                "--port",
                "443",
            ][..],
        ),
        ("2", &["--tls", "sslv2-hello", "--client", "10.77.0.20"]),
    ] {
        let seen = ["--capture", &capture, "--flow", number];
        let seen = [&explain[..], &seen].concat();
        let given = told(&[&explain[..], facts].concat(), 0);
        let told_of = told(&seen, 0);
        let (line, explained) = told_of.split_once("\n\n").unwrap();
        // Before it stands who is believed to have the address.
        let (who, given) = given.split_once("\n\n").unwrap();
        assert!(who.starts_with("address   10.77.0.20\n"), "{who}");
        assert_eq!(explained, given, "{number}");
        assert!(line.contains("tcp"), "{line}");
        let json = object(&told(&[&seen[..], &["--json"]].concat(), 0));
        let mut given = object(&told(&[&explain[..], facts, &["--json"]].concat(), 0));
        let who = given.as_object_mut().unwrap().remove("who");
        assert_eq!(who.unwrap()["address"], "10.77.0.20");
        assert_eq!(json["answer"], given, "{number}");
        assert_eq!(json["flow"]["number"].to_string(), number);
        assert_eq!(json["flow"]["kernel"], "steer");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_the_kernel_settles_is_said_and_no_rule_is_asked() {
    let (_folder, policy, capture) = scene();
    let explain = ["explain", "--config", &policy, "--capture", &capture];
    for (number, args, said) in [
        (
            "3",
            &[][..],
            "refused at packet by the kernel programs (reject, native-udp): no rule is asked\n",
        ),
        (
            "4",
            &[],
            "passed at packet by the kernel programs (listed): no rule is asked\n",
        ),
        (
            "1",
            &["--lan", "192.168.0.0/16"],
            "not judged: none of its packets crosses the LAN device; --lan and --gateway say which \
             addresses stand where\n",
        ),
    ] {
        let args = [&explain[..], &["--flow", number], args].concat();
        let text = told(&args, 0);
        let (_, explained) = text.split_once("\n\n").unwrap();
        assert_eq!(explained, said);
        let json = object(&told(&[&args[..], &["--json"]].concat(), 0));
        assert_eq!(json["answer"], Value::Null, "{json}");
    }
}

/// A connection, or the middle of one.
fn connection(answer: &[u8], whole: bool) -> Capture {
    let cast = Cast::new(Family::V4);
    let (client, origin) = (cast.client(), cast.origin(443));
    let hello = hello::genuine("news.example", &[]);
    let story = cast.story("one flow");
    let story = if whole {
        let end = Tcp::new(origin, client, flag::ACK | flag::FIN)
            .seq(5001)
            .ack_number(1001);
        story
            .says(client, origin, &hello)
            .packet(end.payload(answer).packet())
    } else {
        story.packet(story::data(client, origin, 1001, &[23, 3, 3, 0, 9]))
    };
    story::tell(&[story], Format::Classic, Link::Ethernet).0
}

#[test]
#[ignore = "root: cargo xtask test"]
fn the_only_flow_is_explained_with_the_origin_s_answer_and_the_time() {
    let folder = Folder::new();
    // The stories begin on a Sunday.
    let policy = r#"
        [gateway]
        lan = ["lan0"]
        [policy]
        default = "allow"
        default_unidentified = "allow"
        [[schedule]]
        name = "sundays"
        days = ["sun"]
        zone = "UTC"
        [[rule]]
        name = "no answer on a sunday"
        when = { tls = "inconsistent-server-hello", schedule = "sundays" }
        action = { block = "alert" }
    "#;
    let policy = folder.file("p.toml", policy.as_bytes());
    let capture = folder.file("one", connection(b"as you say", true).bytes());
    let args = [
        "explain",
        "--config",
        policy.to_str().unwrap(),
        "--capture",
        capture.to_str().unwrap(),
    ];
    let text = told(&args, 0);
    assert!(
        text.contains("decided at server_hello: block-alert by rule \"no answer on a sunday\"\n"),
        "{text}"
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_flow_without_its_beginning_is_said_to_be_met_by_nobody() {
    let (folder, policy, _) = scene();
    let capture = folder.file("middle", connection(&[], false).bytes());
    let text = told(
        &[
            "explain",
            "--config",
            &policy,
            "--capture",
            capture.to_str().unwrap(),
        ],
        0,
    );
    assert!(
        text.ends_with(
            "undecided at open\n\
             the daemon does not meet it: the capture does not hold its beginning\n"
        ),
        "{text}"
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn mistakes_about_a_capture_name_it_and_the_cure() {
    let (folder, policy, capture) = scene();
    let explain = ["explain", "--config", &policy, "--capture"];
    for number in ["0", "5"] {
        assert_eq!(
            told(&[&explain[..], &[&capture, "--flow", number]].concat(), 2),
            format!(
                "sluice: {capture}: no flow {number}: it has 4, numbered from 1; without --flow \
                 they are listed\n"
            )
        );
    }
    let empty = Capture::new(Format::Classic, Link::Ethernet);
    let empty = folder.file("empty", empty.bytes());
    let text = told(&[&explain[..], &[empty.to_str().unwrap()]].concat(), 2);
    assert!(text.contains("empty: no flow in it: "), "{text}");
    let text = told(&[&explain[..], &[&policy]].concat(), 2);
    assert!(text.contains("neither a pcap nor a pcapng file"), "{text}");
    let text = told(&[&explain[..], &["/nowhere/x.pcap"]].concat(), 2);
    assert!(text.contains("/nowhere/x.pcap"), "{text}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_difference_shows_in_the_flows_of_a_capture() {
    let (folder, old, capture) = scene();
    let other = OLD
        .replace(
            "[[rule]]",
            "[egress]\npass_udp = [\"123\", \"40000\"]\nblock_udp = []\n[[rule]]",
        )
        .replace("\"sslv2-hello\"", "\"silent\"");
    let new = folder.file("new.toml", other.as_bytes());
    let new = new.to_str().unwrap();
    let diff = ["diff", &old, new, "--flows", &capture];
    let text = told(&diff, 1);
    for line in [
        "block-alert at hello by \"no old hellos\" -> ",
        "reject at packet by native-udp -> pass at packet by listed\n",
        "2 of 4 flows that were seen fare differently\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let text = told(&[&diff[..], &["--json"]].concat(), 1);
    let seen: Vec<_> = text
        .lines()
        .map(object)
        .filter(|line| line["flow"]["number"].is_number())
        .collect();
    assert_eq!(seen.len(), 2, "{text}");
    assert_eq!(seen[0]["flow"]["number"], 2);
    assert_eq!(seen[0]["flow"]["tls"]["state"], "sslv2-hello");
    assert_eq!(seen[1]["old"]["outcome"], "reject");
    assert_eq!(seen[1]["new"]["outcome"], "pass");

    let same = ["diff", &old, &old, "--flows", &capture];
    let text = told(&same, 0);
    assert!(
        text.ends_with("0 of 4 flows that were seen fare differently\n"),
        "{text}"
    );
    // Nothing is judged that does not cross.
    let text = told(&[&same[..], &["--lan", "192.168.0.0/16"]].concat(), 0);
    assert!(
        text.ends_with("0 of 0 flows that were seen fare differently\n"),
        "{text}"
    );
}
