//! Answers to packets whose checksum waits for a device, through devices that complete it or not.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream, UdpSocket},
    process::Command,
    time::Instant,
};

use sluice_tests::{family::Family, netns::Netns, packet::View};

use crate::{
    gate::{Gate, PATIENCE},
    socket::Wire,
    world::origin,
};

fn offload(netns: &Netns, device: &str, on: bool) {
    let word = if on { "on" } else { "off" };
    let output = netns.output(Command::new("ethtool").args(["-K", device, "tx", word]));
    assert!(output.status.success(), "{output:?}");
}

/// The errors that clients know a prohibited destination by.
fn is_refusal(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::PermissionDenied
    )
}

#[test]
#[ignore = "root: cargo xtask test"]
fn real_clients_believe_the_answers_whoever_completes_the_checksums() {
    let gate = Gate::new();
    for client_completes in [false, true] {
        for gateway_completes in [false, true] {
            offload(gate.lab.client(), "eth0", !client_completes);
            offload(gate.lab.gateway(), "lan0", !gateway_completes);
            let wire = Wire::new(gate.lab.client(), "eth0");
            for family in Family::ALL {
                let began = Instant::now();
                let error = gate.lab.client().run(|| {
                    TcpStream::connect_timeout(&origin(family, 5000), PATIENCE).unwrap_err()
                });
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                let error = gate.lab.client().run(|| {
                    let socket = UdpSocket::bind(SocketAddr::new(family.member(), 0)).unwrap();
                    socket.connect(origin(family, 5000)).unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket.send(b"an odd number").unwrap();
                    socket.recv(&mut [0; 16]).unwrap_err()
                });
                assert!(is_refusal(&error), "{error:?}");
                assert!(began.elapsed() < PATIENCE);
                let mut rst = false;
                let mut icmp = false;
                let seen = wire.find(PATIENCE, |arrived| {
                    let view = View::frame(&arrived.frame)?;
                    if view.dst != family.member() || view.hops == 255 {
                        return None;
                    }
                    // A checksum that still waits is wrong on a wire that carries no such notice.
                    let complete = client_completes || gateway_completes;
                    let right = view.header_checksum && view.transport_checksum;
                    assert!(right || !complete, "{view:?}");
                    rst |= view.flags != 0;
                    icmp |= view.icmp.is_some();
                    (rst && icmp).then_some(())
                });
                assert!(seen.is_some(), "RST {rst}, ICMP {icmp}");
            }
        }
    }
}
