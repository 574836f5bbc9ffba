//! Steered connections between decoys: the listener's kernel sees what the origin's would.

use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Instant,
};

use sluice_abi::{Hook, Reason, Verdict};
use sluice_tests::{
    family::Family,
    packet::{Extension, Tcp, View, flag},
};

use crate::{
    gate::{Gate, PATIENCE, SILENCE, ghost},
    world::origin,
};

fn accept(listener: &TcpListener) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => {
                assert!(
                    error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline,
                    "{error}"
                );
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

/// The next answer to the client's connection attempts.
fn syn_ack(gate: &Gate, family: Family) -> View {
    let (view, _) = gate.answer(ghost(family), PATIENCE).unwrap();
    assert_eq!(view.flags, flag::SYN | flag::ACK);
    view
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a11_decoys_do_not_reach_the_listeners_stream() {
    let gate = Gate::new();
    let listeners = gate.daemon();
    for (family, listener) in Family::ALL.into_iter().zip(&listeners) {
        let client = SocketAddr::new(ghost(family), 40000);
        let web = origin(family, 443);
        gate.send(&Tcp::syn(client, web).bad_checksum().packet());
        for flags in [0, flag::SYN | flag::FIN, flag::FIN | flag::PSH | flag::URG] {
            gate.send(&Tcp::new(client, web, flags).packet());
        }
        assert!(gate.answer(ghost(family), SILENCE).is_none());
        gate.send(&Tcp::syn(client, web).packet());
        let (theirs, ours) = syn_ack(&gate, family).sequence.unwrap();
        assert_eq!(ours, 1001);
        let segment = |seq: u32| Tcp::ack(client, web).seq(seq).ack_number(theirs + 1);
        gate.send(&segment(1001).packet());
        gate.send(&segment(1001).payload(b"decoy").bad_checksum().packet());
        gate.send(&segment(900_000_000).payload(b"decoy").packet());
        gate.send(&Tcp::new(client, web, flag::RST).seq(900_000_000).packet());
        gate.send(&segment(1001).payload(b"good ").packet());
        gate.send(&segment(1006).payload(b"decoy").bad_checksum().packet());
        gate.send(&segment(1001).payload(b"evil ").packet());
        gate.send(&segment(1006).payload(b"bytes").packet());
        let mut stream = accept(listener);
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; 10];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"good bytes");
        assert_eq!(stream.local_addr().unwrap(), web);
        assert!(gate.forwarded(ghost(family), SILENCE).is_none());
    }
    gate.expect_count(Hook::LanIngress, Verdict::Drop, Reason::TcpFlags, 6);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a10_strays_on_a_steered_port_are_answered_by_the_kernel_and_not_forwarded() {
    let gate = Gate::new();
    let listeners = gate.daemon();
    for family in Family::ALL {
        let client = SocketAddr::new(ghost(family), 40000);
        gate.send(
            &Tcp::ack(client, origin(family, 443))
                .payload(b"GET /")
                .packet(),
        );
        let (rst, _) = gate.answer(ghost(family), PATIENCE).unwrap();
        assert_eq!((rst.src, rst.flags), (origin(family, 443).ip(), flag::RST));
        assert!(gate.forwarded(ghost(family), SILENCE).is_none());
    }
    drop(listeners);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a3_a4_a_connection_behind_extension_headers_reaches_the_listener() {
    let gate = Gate::new();
    let listeners = gate.daemon();
    let family = Family::V6;
    for (port, extension) in [
        (1, Extension::fragment(0, false, 77)),
        (2, Extension::destination(1)),
        (3, Extension::hop_by_hop(1)),
    ] {
        let client = SocketAddr::new(ghost(family), port);
        let syn = Tcp::syn(client, origin(family, 443))
            .packet()
            .extension(extension.clone());
        gate.send(&syn);
        assert_eq!(
            syn_ack(&gate, family).ports,
            Some((443, port)),
            "{extension:?}"
        );
    }
    assert!(gate.forwarded(ghost(family), SILENCE).is_none());
    drop(listeners);
}
