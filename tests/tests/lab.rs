//! The lab itself: without sluice its gateway forwards everything.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use sluice_tests::{dial, family::Family, lab::Lab};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
#[ignore = "root: cargo xtask test"]
fn both_families_reach_any_origin_through_the_gateway() {
    let lab = Lab::new();
    for family in Family::ALL {
        for client in [family.member(), family.other()] {
            let origin = family.origin_at(200, 8080);
            let listener = lab.internet().run(|| TcpListener::bind(origin)).unwrap();
            let mut stream = dial::tcp(lab.client(), client, origin, PATIENCE).unwrap();
            let (mut served, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), client);
            stream.write_all(b"through").unwrap();
            drop(stream);
            let mut text = String::new();
            served.read_to_string(&mut text).unwrap();
            assert_eq!(text, "through");
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn lans_reach_each_other_and_are_apart() {
    let lab = Lab::builder().lans(2).build();
    for family in Family::ALL {
        let near = SocketAddr::new(family.on_lan(0, 0x10), 0);
        let far = SocketAddr::new(family.on_lan(1, 0x20), 5000);
        let receiver = lab.client_on(1).run(|| UdpSocket::bind(far)).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = lab.client().run(|| UdpSocket::bind(near)).unwrap();
        sender.send_to(b"hello", far).unwrap();
        let mut bytes = [0; 16];
        let (length, from) = receiver.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..length], from.ip()), (&b"hello"[..], near.ip()));
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_dropped_lab_leaves_nothing() {
    let lab = Lab::new();
    let (name, dir) = (lab.gateway().name().to_owned(), lab.dir().to_owned());
    let mut sleeper = lab.gateway().start(Command::new("sleep").arg("600"));
    let list = || String::from_utf8(Command::new("ip").arg("netns").output().unwrap().stdout);
    assert!(list().unwrap().contains(&name));
    drop(lab);
    assert!(!list().unwrap().contains(&name));
    assert!(!dir.exists());
    assert!(!sleeper.wait().unwrap().success());
}
