//! A lab whose gateway has the programs on its LAN, and wires into both sides of it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use sluice_abi::{Hook, Marks, Reason, Verdict};
use sluice_splice::{ListenOptions, bind};
use sluice_steer::{LanPatterns, Routing, StartOptions, Steering};
use sluice_tests::{
    family::Family,
    lab::Lab,
    packet::{Packet, View},
};

use crate::{
    socket::Wire,
    world::{LISTENER, World},
};

/// Link address of the clients' device.
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
/// Link address of the gateway's LAN device.
pub(crate) const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x12];
const INTERNET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x13];

/// How long something may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long is waited for what should not happen.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// A gateway in force.
pub(crate) struct Gate {
    pub(crate) lab: Lab,
    pub(crate) steering: Steering,
    /// At the clients' end of the LAN.
    pub(crate) near: Wire,
    /// At the internet's end of the WAN.
    pub(crate) far: Wire,
    /// The clients' end of a LAN without link headers.
    pub(crate) tun: Wire,
    // Keeps the internet's own stack from saying that nobody listens.
    _listening: [UdpSocket; 2],
}

/// A client on the LAN that has no stack of its own to interfere.
pub(crate) fn ghost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, 0, 200).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x200).into(),
    }
}

/// A client behind the tun device.
pub(crate) fn remote_worker(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 90, 0, 10).into(),
        Family::V6 => Ipv6Addr::new(0xfd90, 0, 0, 0, 0, 0, 0, 0x10).into(),
    }
}

impl Gate {
    /// The gate closed without a daemon.
    pub(crate) fn new() -> Self {
        Self::with_mtu(1500)
    }

    pub(crate) fn with_mtu(mtu: u32) -> Self {
        let lab = Lab::builder().mtu(mtu).build();
        lab.client()
            .ip(&format!("link set eth0 address {}", text(CLIENT_MAC)));
        lab.internet()
            .ip(&format!("link set eth0 address {}", text(INTERNET_MAC)));
        let tun = Wire::tun(lab.gateway(), "lan9");
        let mut batch = format!(
            "link set lan0 address {}\nlink set wan0 address {}\nlink set lan9 mtu {mtu} up\n",
            text(LAN_MAC),
            text(WAN_MAC)
        );
        for family in Family::ALL {
            let (ghost, worker) = (ghost(family), remote_worker(family));
            batch += &format!(
                "neigh replace {ghost} lladdr {} dev lan0\n",
                text(CLIENT_MAC)
            );
            batch += &format!("route add {worker} dev lan9\n");
        }
        // A changed address lets go of the routes through it.
        batch += &format!("route replace default via {}\n", Family::V4.internet());
        batch += &format!("route replace ::/0 via {}\n", Family::V6.internet());
        lab.gateway().ip(&batch);
        let steering = close(&lab);
        let near = Wire::new(lab.client(), "eth0");
        let far = Wire::new(lab.internet(), "eth0");
        let any = [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        let listening = lab
            .internet()
            .run(|| any.map(|any| quiet(SocketAddr::new(any, 123))));
        Self {
            lab,
            steering,
            near,
            far,
            tun,
            _listening: listening,
        }
    }

    /// A daemon that accepts, as far as the kernel can tell: its two listeners.
    pub(crate) fn daemon(&self) -> [TcpListener; 2] {
        let options = ListenOptions::default();
        let listeners = self.lab.gateway().run(|| {
            [
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                Ipv6Addr::UNSPECIFIED.into(),
            ]
            .map(|any| bind(SocketAddr::new(any, LISTENER), &options).unwrap())
        });
        self.steering
            .set_listeners(&listeners[0], Some(&listeners[1]))
            .unwrap();
        self.steering.heartbeat().unwrap();
        listeners
    }

    /// Sends a packet from the LAN.
    pub(crate) fn send(&self, packet: &Packet) {
        self.near
            .send(&packet.clone().macs(CLIENT_MAC, LAN_MAC).frame());
    }

    /// Sends a packet from the internet.
    pub(crate) fn send_in(&self, packet: &Packet) {
        self.far
            .send(&packet.clone().macs(INTERNET_MAC, WAN_MAC).frame());
    }

    /// The next packet for a client on the LAN.
    pub(crate) fn answer(&self, to: IpAddr, patience: Duration) -> Option<(View, Option<u16>)> {
        self.near.find(patience, |arrived| {
            let view = View::frame(&arrived.frame)?;
            (view.dst == to && arrived.frame[6..12] == LAN_MAC).then_some((view, arrived.tag))
        })
    }

    /// The next packet of a client that came out to the internet.
    pub(crate) fn forwarded(&self, from: IpAddr, patience: Duration) -> Option<View> {
        self.far.find(patience, |arrived| {
            View::frame(&arrived.frame).filter(|view| view.src == from)
        })
    }

    pub(crate) fn count(&self, hook: Hook, verdict: Verdict, reason: Reason) -> u64 {
        self.steering
            .counters()
            .unwrap()
            .packets_of(hook, verdict, reason)
    }

    /// Waits until a counter has come to a value, and not beyond it.
    #[track_caller]
    pub(crate) fn expect_count(&self, hook: Hook, verdict: Verdict, reason: Reason, value: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(hook, verdict, reason) < value && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let counters = self.steering.counters().unwrap();
        assert_eq!(
            counters.packets_of(hook, verdict, reason),
            value,
            "{reason:?}: {counters:?}"
        );
    }
}

fn close(lab: &Lab) -> Steering {
    let options = StartOptions {
        bpffs_dir: lab.bpffs().to_owned(),
        state_dir: lab.dir().join("state"),
        lan: LanPatterns::new(["lan*"]),
        routing: Routing {
            marks: Marks::new(0x5100_0000, 0xff00_0000).unwrap(),
            table: 5100,
        },
        policy: World::default().compile(1),
        log: sluice_steer::KernelLog::Off,
    };
    std::fs::create_dir_all(&options.state_dir).unwrap();
    lab.gateway().run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Steering::start(&options)).unwrap()
    })
}

fn quiet(address: SocketAddr) -> UdpSocket {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.into()
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
