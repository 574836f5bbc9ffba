//! The lab's servers and clients, without sluice between them.

use std::{io::Write, process::Command, time::Duration};

use rustls::version::{TLS12, TLS13};
use sluice_tests::{
    dial::{self, Outcome},
    family::Family,
    hello,
    lab::Lab,
    peer::{Peer, Recorder},
    pki::Pki,
    skype,
};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
#[ignore = "root: cargo xtask test"]
fn curl_is_served_in_both_versions_and_families() {
    let (lab, pki) = (Lab::new(), Pki::new());
    let ca = lab.dir().join("ca.pem");
    std::fs::write(&ca, pki.pem()).unwrap();
    let config = pki.server(&["news.example"], &[&TLS12, &TLS13]);
    for family in Family::ALL {
        let address = family.origin_at(5, 443);
        let _server = Peer::https(lab.internet(), address, &config, "the news\n");
        for version in ["1.2", "1.3"] {
            let resolve = match family {
                Family::V4 => format!("news.example:443:{}", address.ip()),
                Family::V6 => format!("news.example:443:[{}]", address.ip()),
            };
            let mut curl = Command::new("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--max-time",
                "5",
                "--resolve",
                &resolve,
            ])
            .args([
                &format!("--tlsv{version}"),
                "--tls-max",
                version,
                "--cacert",
            ])
            .arg(&ca)
            .arg("https://news.example/");
            let output = lab.client().output(&mut curl);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "the news\n",
                "{error}"
            );
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_recorder_keeps_exactly_what_it_was_sent() {
    let lab = Lab::new();
    for family in Family::ALL {
        let origin = Recorder::new(lab.internet(), family.origin_at(5, 443), b"noted");
        let said = hello::zero_length_records(3);
        let (outcome, _) = dial::say(
            lab.client(),
            family.member(),
            origin.address(),
            &said,
            PATIENCE,
        );
        assert_eq!(outcome, Outcome::Answered(b"noted".to_vec()));
        let seen = origin.wait_until(PATIENCE, |all| all.first().is_some_and(|one| one.ended));
        assert_eq!(seen.len(), 1);
        assert_eq!((&seen[0].bytes, seen[0].ended), (&said, true));
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_client_tells_refused_from_silent_from_answered() {
    let lab = Lab::new();
    for family in Family::ALL {
        let ask = |number, port| {
            let to = family.origin_at(number, port);
            dial::ask(
                lab.client(),
                family.member(),
                to,
                b"x",
                Duration::from_millis(300),
            )
            .0
        };
        let _echo = Peer::udp(lab.internet(), family.origin_at(5, 3000), |bytes, _| {
            Some(bytes.to_vec())
        });
        let _mute = Peer::udp(lab.internet(), family.origin_at(5, 3001), |_, _| None);
        assert_eq!(ask(5, 3000), Outcome::Answered(b"x".to_vec()));
        assert_eq!(ask(5, 3001), Outcome::Silence);
        assert_eq!(ask(5, 3002), Outcome::Refused);
        let nobody = family.origin_at(6, 443);
        assert_eq!(
            dial::say(lab.client(), family.member(), nobody, b"x", PATIENCE).0,
            Outcome::Refused
        );
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn without_a_gate_the_skype_like_client_gets_out_natively() {
    let lab = Lab::new();
    for family in Family::ALL {
        let attempts = skype::native(family.origin(77));
        let _peer = Peer::echo(lab.internet(), attempts[0].to);
        let _peers: Vec<Peer> = attempts[1..]
            .iter()
            .map(|attempt| Peer::udp(lab.internet(), attempt.to, |bytes, _| Some(bytes.to_vec())))
            .collect();
        for attempt in attempts {
            let (outcome, _) = attempt.make(lab.client(), family.member(), PATIENCE);
            assert!(outcome.is_answered(), "{}: {outcome}", attempt.what);
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn an_echo_sends_back_what_it_gets() {
    let lab = Lab::new();
    for family in Family::ALL {
        let origin = Peer::echo(lab.internet(), family.origin_at(9, 7));
        let mut stream =
            dial::tcp(lab.client(), family.other(), origin.address(), PATIENCE).unwrap();
        stream.write_all(b"again").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = String::new();
        std::io::Read::read_to_string(&mut stream, &mut back).unwrap();
        assert_eq!(back, "again");
    }
}
