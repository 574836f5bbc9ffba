//! A steered connection, from a client's SYN to the listener.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use sluice_abi::{Hook, Reason, Verdict};
use sluice_steer::{Steering, doctor, unload};
use socket2::{Domain, Socket, Type};

use crate::support::{Place, routing};

const ORIGIN: &str = "203.0.113.9:443";

fn transparent_listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_ip_transparent_v4(true).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15443)).into())
        .unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

fn connect(client: &Place) -> std::io::Result<TcpStream> {
    client.run(|| TcpStream::connect_timeout(&ORIGIN.parse().unwrap(), Duration::from_millis(700)))
}

fn sysctl(place: &Place, path: &str, value: &str) {
    place
        .run(|| fs::write(format!("/proc/sys/{path}"), value))
        .unwrap();
}

fn gateway_and_client() -> (Place, Place) {
    let (place, client) = (Place::new(), Place::new());
    place.ip("link add lan0 type veth peer name far0");
    client.adopt(&place, "far0");
    place.ip("address add 10.20.0.1/24 dev lan0");
    place.ip("link set lan0 up");
    client.ip("address add 10.20.0.2/24 dev far0");
    client.ip("link set far0 up");
    client.ip("route add default via 10.20.0.1");
    (place, client)
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_steered_connection_reaches_the_listener_under_the_origins_address() {
    let (place, client) = gateway_and_client();
    place.block_on(async || {
        let steering = Steering::start(&place.options(&["lan0"])).await.unwrap();
        // Closed: no daemon has taken over, and the client knows at once.
        let refused = connect(&client).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let listener = transparent_listener();
        steering
            .set_listeners(&listener, None::<&TcpListener>)
            .unwrap();
        steering.heartbeat().unwrap();
        let mut far = connect(&client).unwrap();
        let (mut near, peer) = listener.accept().unwrap();
        assert_eq!(near.local_addr().unwrap(), ORIGIN.parse().unwrap());
        assert_eq!(peer, far.local_addr().unwrap());
        far.write_all(b"there").unwrap();
        let mut bytes = [0; 5];
        near.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"there");
        near.write_all(b"again").unwrap();
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"again");
        let counters = steering.counters().unwrap();
        let steered = counters.packets_of(Hook::LanIngress, Verdict::Steer, Reason::Steered);
        assert!(steered >= 3, "{counters:?}");

        // The listener is gone: refused again, without anybody having told the programs.
        drop((listener, near, far));
        assert_eq!(
            connect(&client).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_the_doctor_calls_a_problem_is_one() {
    let (place, client) = gateway_and_client();
    place.block_on(async || {
        let options = place.options(&["lan0"]);
        let steering = Steering::start(&options).await.unwrap();
        let listener = transparent_listener();
        steering
            .set_listeners(&listener, None::<&TcpListener>)
            .unwrap();
        steering.heartbeat().unwrap();
        sysctl(&place, "net/ipv4/ip_forward", "1");
        sysctl(&place, "net/ipv6/conf/all/forwarding", "1");
        let findings = async || {
            let options = doctor::DoctorOptions {
                bpffs_dir: place.bpffs_dir(),
                lan: options.lan.clone(),
                routing: routing(),
                steered_ports: vec![443],
                flow_limit: 1,
                kernel_flow_limit: 1,
            };
            let snapshot = doctor::Snapshot::collect(&options).await.unwrap();
            let mut findings = doctor::examine(&snapshot);
            findings.retain(|found| found.severity == doctor::Severity::Problem);
            findings
        };
        let found = async || {
            findings()
                .await
                .iter()
                .map(|found| found.check)
                .collect::<Vec<_>>()
        };
        assert_eq!(found().await, [""; 0]);
        for mode in ["0", "1", "2"] {
            sysctl(&place, "net/ipv4/conf/all/rp_filter", mode);
            drop(connect(&client).unwrap());
        }
        sysctl(&place, "net/ipv4/conf/all/src_valid_mark", "1");
        assert_eq!(found().await, ["src-valid-mark"]);
        connect(&client).unwrap_err();
        sysctl(&place, "net/ipv4/conf/all/src_valid_mark", "0");
        drop(connect(&client).unwrap());

        place.ip("link add wan0 type veth peer name out0");
        place.ip("address add 192.0.2.1/24 dev wan0");
        place.ip("link set wan0 up");
        place.ip("route add default via 192.0.2.2 dev wan0");
        place.ip("rule add priority 9 lookup main");
        assert_eq!(found().await, ["foreign-rule"]);
        connect(&client).unwrap_err();
        place.ip("rule del priority 9");
        assert_eq!(found().await, [""; 0]);
        drop(connect(&client).unwrap());

        place.command("nft add table inet filter");
        place.command(
            "nft add chain inet filter input { type filter hook input priority 0 ; policy drop ; }",
        );
        place.command("nft add rule inet filter input ct state established,related accept");
        let refused = findings().await;
        assert_eq!(
            refused.iter().map(|found| found.check).collect::<Vec<_>>(),
            ["input"]
        );
        connect(&client).unwrap_err();
        // The cure is what it says it is.
        place.command(&refused[0].cure);
        assert_eq!(found().await, [""; 0]);
        drop(connect(&client).unwrap());
    });
}

/// Sends a datagram to a native port every millisecond until told to stop, and counts them.
fn canary(stop: &AtomicBool) -> u32 {
    let socket = UdpSocket::bind("10.20.0.2:0").unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        // Rejections come back as errors of the socket.
        sent += u32::from(socket.send_to(b"canary", "198.51.100.9:40000").is_ok());
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// How many canaries arrive before the socket falls silent.
fn arrived(socket: &UdpSocket) -> u32 {
    let mut bytes = [0; 16];
    let mut count = 0;
    while socket.recv(&mut bytes).is_ok() {
        count += 1;
    }
    count
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h3_restarts_let_no_canary_through() {
    let (place, client) = gateway_and_client();
    let internet = Place::new();
    place.ip("link add wan0 type veth peer name out0");
    internet.adopt(&place, "out0");
    place.ip("address add 198.51.100.1/24 dev wan0");
    place.ip("link set wan0 up");
    internet.ip("address add 198.51.100.9/24 dev out0");
    internet.ip("link set out0 up");
    sysctl(&place, "net/ipv4/ip_forward", "1");
    let sink = internet.run(|| UdpSocket::bind("198.51.100.9:40000").unwrap());
    sink.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();

    let stop = AtomicBool::new(false);
    place.block_on(async || drop(Steering::start(&place.options(&["lan0"])).await.unwrap()));
    thread::scope(|scope| {
        let sent = scope.spawn(|| client.run(|| canary(&stop)));
        place.block_on(async || {
            for _ in 0..12 {
                drop(Steering::start(&place.options(&["lan0"])).await.unwrap());
            }
        });
        stop.store(true, Ordering::Relaxed);
        assert!(sent.join().unwrap() > 100);
    });
    assert_eq!(arrived(&sink), 0);

    // The path is there: once the gate is open, the same canary arrives.
    place.block_on(async || unload(&place.unload_options()).await.unwrap());
    stop.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let sent = scope.spawn(|| client.run(|| canary(&stop)));
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        sent.join().unwrap();
    });
    assert!(arrived(&sink) > 10);
}
