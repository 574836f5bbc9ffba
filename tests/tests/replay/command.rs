//! Around the lines: damaged files, options, output that nobody reads.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Output, Stdio},
    time::Instant,
};

use sluice_tests::{
    family::Family,
    hello,
    packet::{Tcp, Udp},
    pcap::{Capture, Format, Link},
};

use crate::{
    program::{self, Folder},
    story::{self, Cast},
};

const FORMATS: [Format; 3] = [Format::Classic, Format::ClassicForeign, Format::Ng];

/// A named hello, an SSLv2-format one, a native datagram and NTP.
pub(crate) fn capture(format: Format) -> Capture {
    let cast = Cast::new(Family::V4);
    let origin = cast.origin(443);
    let client = cast.client();
    let story = cast
        .story("four flows")
        .says(client, origin, &hello::genuine("news.example", &[]))
        .says(cast.client(), origin, &hello::sslv2())
        .datagram(client, story::at(origin, 40_000), &[5; 30])
        .datagram(client, story::at(origin, 123), &[0x23; 48]);
    story::tell(&[story], format, Link::Ethernet).0
}

/// What the program wrote to standard error, and that it failed with nothing on standard output.
fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    assert!(
        stderr.starts_with("sluice: ") || stderr.starts_with("error: "),
        "{stderr}"
    );
    stderr
}

fn refused(bytes: &[u8]) -> String {
    let folder = Folder::new();
    refusal(&program::replay(
        &folder.file("damaged.pcap", bytes),
        &["--json"],
    ))
}

#[test]
#[ignore = "root: cargo xtask test"]
fn text_has_a_line_a_flow_with_what_matters_in_it() {
    let folder = Folder::new();
    for format in FORMATS {
        let lines = program::lines(&folder.file("four", capture(format).bytes()), &[]);
        let wanted: [&[&str]; 4] = [
            &[
                "tcp",
                "10.77.0.20",
                "203.0.113.5:443",
                "4",
                "steer",
                "news.example",
                "undecided",
            ],
            &[
                "tcp",
                "steer",
                "sslv2-hello",
                "block by \"Skype, except for the Allow Skype group\"",
            ],
            &["udp", "203.0.113.5:40000", "1", "reject (native-udp)"],
            &["udp", "203.0.113.5:123", "1", "pass (listed)"],
        ];
        assert_eq!(lines.len(), wanted.len(), "{lines:?}");
        for (line, words) in lines.iter().zip(wanted) {
            for word in words {
                assert!(line.contains(word), "{word} in {line}");
            }
        }
        let columns: Vec<_> = lines
            .iter()
            .map(|line| line.find(" > ").is_some())
            .collect();
        assert_eq!(columns, [true; 4]);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_capture_that_ends_inside_a_packet_names_it() {
    for (format, cut) in FORMATS.into_iter().zip([1, 10, 58]) {
        let mut whole = Capture::new(format, Link::Ethernet);
        let cast = Cast::new(Family::V4);
        for _ in 0..3 {
            let syn = Tcp::syn(cast.client(), cast.origin(443)).packet();
            whole.push(0, &syn.frame());
        }
        let bytes = whole.bytes();
        let stderr = refused(&bytes[..bytes.len() - cut]);
        assert!(
            stderr.contains("packet 3: "),
            "{format:?} less {cut}: {stderr}"
        );
        assert!(stderr.contains("damaged.pcap"), "{stderr}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_packet_of_an_impossible_length_is_named() {
    for format in [Format::Classic, Format::ClassicForeign] {
        let capture = capture(format);
        let mut bytes = capture.bytes().to_vec();
        // The length of the first packet, behind the file's header and its two words of time.
        bytes[32..36].copy_from_slice(&[0x7f; 4]);
        let stderr = refused(&bytes);
        assert!(stderr.contains("packet 1: "), "{format:?}: {stderr}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_is_no_capture_is_refused() {
    for bytes in [
        &b""[..],
        b"abc",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xd4, 0xc3, 0xb2, 0xa1, 2],
    ] {
        let stderr = refused(bytes);
        assert!(
            stderr.contains("neither a pcap nor a pcapng file"),
            "{bytes:?}: {stderr}"
        );
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_link_type_that_is_not_known_is_named() {
    let mut bytes = capture(Format::Classic).bytes().to_vec();
    // IEEE 802.11.
    bytes[20] = 105;
    let stderr = refused(&bytes);
    assert!(
        stderr.contains("packet 1: link type") && stderr.contains("not supported"),
        "{stderr}"
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_capture_without_packets_has_no_lines() {
    let folder = Folder::new();
    for format in FORMATS {
        let empty = Capture::new(format, Link::Ethernet);
        let lines = program::lines(&folder.file("empty", empty.bytes()), &[]);
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_file_that_is_not_there_is_named() {
    let stderr = refusal(&program::replay(Path::new("/nowhere/x.pcap"), &[]));
    assert!(
        stderr.contains("/nowhere/x.pcap") && stderr.contains("No such file"),
        "{stderr}"
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn options_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let file = folder.file("four", capture(Format::Classic).bytes());
    for (args, word) in [
        (&["--lan", "10.0.0.0/33"], "--lan"),
        (&["--lan", "home"], "--lan"),
        (&["--gateway", "10.0.0.0/8"], "--gateway"),
        (
            &["--config", "/nowhere/sluice.toml"],
            "/nowhere/sluice.toml",
        ),
    ] {
        let stderr = refusal(&program::replay(&file, args));
        assert!(stderr.contains(word), "{args:?}: {stderr}");
    }
    let bad = folder.file("bad.toml", b"[egress]\nblock_tpc = []\n");
    let stderr = refusal(&program::replay(
        &file,
        &["--config", bad.to_str().unwrap()],
    ));
    assert!(
        stderr.contains("bad.toml") && stderr.contains("block_tpc"),
        "{stderr}"
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn the_lan_decides_what_crosses() {
    let folder = Folder::new();
    let file = folder.file("four", capture(Format::Ng).bytes());
    let kernel = |args: &[&str]| -> Vec<_> {
        let flows = program::objects(&file, args);
        flows
            .iter()
            .map(|flow| (flow["kernel"].clone(), flow["initiator"].clone()))
            .collect()
    };
    assert_eq!(kernel(&["--lan", "10.77.0.0/24"]), kernel(&[]));
    let nobody = kernel(&["--lan", "192.168.0.0/16", "--lan", "fd00::/8"]);
    assert!(
        nobody
            .iter()
            .all(|(kernel, who)| kernel.is_null() && who == "remote"),
        "{nobody:?}"
    );
    let all = kernel(&["--lan", "10.77.0.0/24", "--lan", "203.0.113.0/24"]);
    assert!(
        all.iter()
            .all(|(kernel, who)| kernel.is_null() && who == "client"),
        "{all:?}"
    );
    // Seen from the other side, everything comes from outside.
    let inbound = kernel(&["--lan", "203.0.113.0/24"]);
    assert!(
        inbound
            .iter()
            .all(|(kernel, who)| kernel == "drop" && who == "remote"),
        "{inbound:?}"
    );
    let own = kernel(&["--gateway", "203.0.113.5"]);
    assert!(own.iter().all(|(kernel, _)| kernel == "pass"), "{own:?}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn another_policy_gives_other_verdicts() {
    let folder = Folder::new();
    let file = folder.file("four", capture(Format::Classic).bytes());
    let config = r#"
        [gateway]
        lan = ["lan0"]
        [egress]
        default = "drop"
        block_tcp = []
        block_udp = []
        pass_udp = ["40000"]
        [steer]
        tls = ["443"]
        [policy]
        default = "block"
        default_unidentified = "allow"
        [[rule]]
        name = "only old hellos"
        when = { tls = "sslv2-hello", client = "10.77.0.0/24" }
        action = "splice"
        [[rule]]
        name = "no news"
        when = { host = "news.example" }
        action = { block = "reset" }
    "#;
    let config = folder.file("other.toml", config.as_bytes());
    let flows = program::objects(&file, &["--config", config.to_str().unwrap()]);
    let got: Vec<_> = flows
        .iter()
        .map(|flow| ["kernel", "reason", "verdict", "rule"].map(|key| flow[key].as_str()))
        .collect();
    let wanted = [
        [
            Some("steer"),
            Some("steered"),
            Some("block"),
            Some("no news"),
        ],
        [
            Some("steer"),
            Some("steered"),
            Some("splice"),
            Some("only old hellos"),
        ],
        [Some("pass"), Some("listed"), None, None],
        [Some("drop"), Some("egress-default"), None, None],
    ];
    assert_eq!(got, wanted);
}

/// Many flows of few packets each.
fn many(flows: u32) -> Capture {
    let mut capture = Capture::new(Format::Classic, Link::Ethernet);
    let cast = Cast::new(Family::V4);
    for number in 0..flows {
        let client = cast.client();
        let origin = Family::V4.origin_at((number % 250) as u8, 443);
        let time = u64::from(number) * 1000;
        for (step, frame) in [
            Tcp::syn(client, origin).packet().frame(),
            Tcp::syn_ack(origin, client)
                .ack_number(1001)
                .packet()
                .frame(),
            story::data(client, origin, 1001, &hello::sslv2()).frame(),
            story::data(origin, client, 1001, &[7; 300]).frame(),
            Udp::new(client, story::at(origin, 123), &[0x23; 48])
                .packet()
                .frame(),
        ]
        .iter()
        .enumerate()
        {
            capture.push(time + step as u64, frame);
        }
    }
    capture
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = Folder::new();
    let file = folder.file("many", many(2000).bytes());
    let mut command = program::command(&file);
    let mut child = command
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with('{') && line.ends_with("}\n"), "{line}");
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn fifty_thousand_packets() {
    let folder = Folder::new();
    let file = folder.file("many", many(10_000).bytes());
    let begun = Instant::now();
    let lines = program::lines(&file, &["--json"]);
    println!("50000 packets in {:?}", begun.elapsed());
    assert_eq!(lines.len(), 20_000);
    let steered = lines
        .iter()
        .filter(|line| line.contains("\"sslv2-hello\""))
        .count();
    assert_eq!(steered, 10_000);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_replay_leaves_the_machine_as_it_was() {
    let folder = Folder::new();
    let devices = || {
        std::fs::read_to_string("/proc/net/dev")
            .unwrap()
            .lines()
            .count()
    };
    let before = devices();
    let file = folder.file("four", capture(Format::Classic).bytes());
    assert_eq!(program::lines(&file, &[]).len(), 4);
    assert_eq!(devices(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn help_says_what_the_options_mean() {
    let output = program::command(Path::new("--help")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for word in [
        "--lan <CIDR>",
        "--gateway <ADDR>",
        "--config <FILE>",
        "--json",
        "Example:",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
