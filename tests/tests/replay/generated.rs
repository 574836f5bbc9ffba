//! The generated capture, line by line.

use sluice_tests::{
    family::Family,
    hello,
    packet::Tcp,
    pcap::{Capture, Format, Link},
};

use crate::{
    expect::{self, Line, SKYPE, UNANSWERED},
    program,
    story::{self, Cast, Story},
    tables,
};

/// The gateway's own addresses.
fn gateway() -> Vec<String> {
    let own = Family::ALL.map(|family| [family.gateway_lan(), family.gateway_wan()]);
    own.as_flattened()
        .iter()
        .flat_map(|addr| ["--gateway".to_owned(), addr.to_string()])
        .collect()
}

fn stories() -> Vec<Story> {
    let tables: [fn(&Cast) -> Vec<Story>; 6] = [
        tables::native::stories,
        tables::hellos::stories,
        tables::sides::stories,
        tables::connections::stories,
        tables::fragments::stories,
        tables::headers::stories,
    ];
    let casts = Family::ALL.map(Cast::new);
    casts
        .iter()
        .flat_map(|cast| tables.map(|table| table(cast)))
        .flatten()
        .collect()
}

fn replay(stories: &[Story], format: Format, link: Link) {
    let (capture, expected) = story::tell(stories, format, link);
    let gateway = gateway();
    let args: Vec<_> = gateway.iter().map(String::as_str).collect();
    expect::compare(&program::lines_of(&capture, &args), &expected);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_line_of_a_classic_capture() {
    replay(&stories(), Format::Classic, Link::Ethernet);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_line_of_a_foreign_classic_capture() {
    replay(&stories(), Format::ClassicForeign, Link::Ethernet);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_line_of_a_next_generation_capture() {
    replay(&stories(), Format::Ng, Link::Ethernet);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_line_of_a_capture_without_link_headers() {
    replay(&stories(), Format::Classic, Link::Ip);
    replay(&stories(), Format::Ng, Link::Ip);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_snap_length_hides_bytes_and_changes_no_verdict() {
    for family in Family::ALL {
        let cast = Cast::new(family);
        let (client, origin) = (cast.client(), cast.origin(443));
        let mut capture = Capture::new(Format::Classic, Link::Ethernet).snap_length(128);
        let named = hello::genuine("news.example", &[]);
        capture.push(1_000_000, &Tcp::syn(client, origin).packet().frame());
        capture.push(
            1_001_000,
            &story::data(client, origin, 1001, &named).frame(),
        );
        // A big enough datagram looks like an Initial by the bytes that were kept.
        let quic = sluice_tests::packet::Udp::new(client, origin, &hello::quic_initial());
        capture.push(1_002_000, &quic.packet().frame());
        let expected = [
            Line::new("tcp", client, origin, 2)
                .steered(SKYPE)
                .state("truncated"),
            Line::new("udp", client, origin, 1).kernel("reject", "quic"),
        ];
        let expected = expected.map(|line| (format!("{family:?}"), line));
        expect::compare(&program::lines_of(&capture, &[]), &expected);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_packet_cut_inside_its_headers_is_counted_and_not_judged() {
    for family in Family::ALL {
        let cast = Cast::new(family);
        let (client, origin) = (cast.client(), cast.origin(443));
        let ports = if family == Family::V4 {
            14 + 20 + 4
        } else {
            14 + 40 + 4
        };
        let mut capture = Capture::new(Format::Classic, Link::Ethernet).snap_length(ports);
        capture.push(1_000_000, &Tcp::syn(client, origin).packet().frame());
        let mut capture = capture.snap_length(65_535);
        let named = hello::genuine("news.example", &[]);
        capture.push(1_001_000, &Tcp::syn(client, origin).packet().frame());
        capture.push(
            1_002_000,
            &story::data(client, origin, 1001, &named).frame(),
        );
        let line = Line::new("tcp", client, origin, 3)
            .steered(UNANSWERED)
            .hello(Some("news.example"), &[]);
        expect::compare(
            &program::lines_of(&capture, &[]),
            &[(format!("{family:?}"), line)],
        );
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn flows_stand_in_the_order_of_their_first_packets() {
    let cast = Cast::new(Family::V4);
    let (client, origin) = (cast.client(), cast.origin(40_000));
    let mut capture = Capture::new(Format::Ng, Link::Ethernet);
    let mut expected = Vec::new();
    for round in 0..3 {
        for port in [3000, 1000, 2000] {
            let syn = Tcp::syn(story::at(client, port), origin).packet().frame();
            capture.push(round * 10_000 + u64::from(port), &syn);
        }
    }
    for port in [3000, 1000, 2000] {
        let line = Line::new("tcp", story::at(client, port), origin, 3)
            .kernel("reject", "native-tcp")
            .state("none");
        expected.push((port.to_string(), line));
    }
    expect::compare(&program::lines_of(&capture, &[]), &expected);
}
