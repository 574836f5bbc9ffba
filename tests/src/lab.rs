//! Clients, a gateway and an internet, each a network namespace, joined by veth pairs.
//!
//! ```text
//! client (eth0) ---- (lan0) gateway (wan0) ---- (eth0) internet
//! 10.77.0.10, .20     10.77.0.1  192.0.2.1      192.0.2.2, all of 203.0.113.0/24, 198.51.100.0/24
//! fd77::10, ::20      fd77::1    2001:db8::1    2001:db8::2, all of 2001:db8:1::/64
//! ```
//!
//! The gateway forwards and nothing more until a test starts [`Sluice`](crate::sluice::Sluice) in
//! it. A lab goes away when it is dropped, and when its process dies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    family::Family,
    janitor::Janitor,
    netns::{Netns, veth},
};

/// The hosts that each LAN has: the low byte of [`Family::on_lan`].
pub const HOSTS: [u8; 5] = [0x10, 0x20, 0x30, 0x40, 0x50];

/// A lab that stands.
#[derive(Debug)]
pub struct Lab {
    clients: Vec<Netns>,
    gateway: Netns,
    internet: Netns,
    dir: PathBuf,
    bpffs: PathBuf,
    // Last: it removes what the others hold open.
    janitor: Janitor,
}

/// What a lab is to look like.
#[derive(Clone, Debug)]
pub struct Builder {
    lans: u8,
    mtu: u32,
}

impl Builder {
    /// Sets the number of LANs: devices `lan0`, `lan1`, ... of the gateway, a client namespace on
    /// each, in 10.77.0.0/24, 10.78.0.0/24, ... and fd77::/64, fd78::/64, ...
    #[must_use]
    pub fn lans(mut self, lans: u8) -> Self {
        self.lans = lans;
        self
    }

    /// Sets the MTU of every device, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Builds the lab.
    ///
    /// # Panics
    ///
    /// When the caller is not root, or the machine lacks iproute2 or veth devices.
    #[must_use]
    pub fn build(&self) -> Lab {
        assert!(
            rustix::process::geteuid().is_root(),
            "the lab needs root: `cargo xtask test`"
        );
        mount_bpffs();
        let mut janitor = Janitor::new();
        let tag = janitor.tag().to_owned();
        let dir = std::env::temp_dir().join(format!("sluice-lab-{tag}"));
        let bpffs = PathBuf::from(format!("/sys/fs/bpf/sluice-lab-{tag}"));
        janitor.dir(&dir);
        janitor.dir(&bpffs);
        if let Err(error) = fs::create_dir_all(&dir) {
            panic!("{}: {error}", dir.display());
        }
        let internet = Netns::new(&mut janitor, &format!("sl{tag}-internet"));
        let gateway = Netns::new(&mut janitor, &format!("sl{tag}-gateway"));
        self.wan(&gateway, &internet);
        let clients: Vec<Netns> = (0..self.lans)
            .map(|lan| {
                let suffix = if lan == 0 {
                    String::new()
                } else {
                    lan.to_string()
                };
                let client = Netns::new(&mut janitor, &format!("sl{tag}-client{suffix}"));
                self.lan(&gateway, &client, lan);
                client
            })
            .collect();
        Lab {
            clients,
            gateway,
            internet,
            dir,
            bpffs,
            janitor,
        }
    }

    fn wan(&self, gateway: &Netns, internet: &Netns) {
        gateway.sysctl("net.ipv4.ip_forward", "1");
        gateway.sysctl("net.ipv6.conf.all.forwarding", "1");
        // Servers bind to addresses of a prefix that is local as a whole.
        internet.sysctl("net.ipv6.ip_nonlocal_bind", "1");
        veth((gateway, "wan0"), (internet, "eth0"));
        let mtu = self.mtu;
        let [v4, v6] = Family::ALL.map(|family| (family.gateway_wan(), family.internet()));
        gateway.ip(&format!(
            "link set wan0 mtu {mtu}
             addr add {}/24 dev wan0
             addr add {}/64 dev wan0 nodad
             route add default via {}
             route add ::/0 via {}",
            v4.0, v6.0, v4.1, v6.1
        ));
        internet.ip(&format!(
            "link set eth0 mtu {mtu}
             addr add {}/24 dev eth0
             addr add {}/64 dev eth0 nodad
             route add local 203.0.113.0/24 dev lo
             route add local 198.51.100.0/24 dev lo
             route add local 2001:db8:1::/64 dev lo
             route add 10.64.0.0/10 via {}
             route add fd00::/8 via {}",
            v4.1, v6.1, v4.0, v6.0
        ));
    }

    fn lan(&self, gateway: &Netns, client: &Netns, lan: u8) {
        let device = format!("lan{lan}");
        veth((gateway, &device), (client, "eth0"));
        let mtu = self.mtu;
        let [v4, v6] = Family::ALL.map(|family| family.on_lan(lan, 1));
        gateway.ip(&format!(
            "link set {device} mtu {mtu}
             addr add {v4}/24 dev {device}
             addr add {v6}/64 dev {device} nodad"
        ));
        let mut batch = format!("link set eth0 mtu {mtu}\n");
        for host in HOSTS {
            let [v4, v6] = Family::ALL.map(|family| family.on_lan(lan, host));
            batch += &format!("addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n");
        }
        batch += &format!("route add default via {v4}\n");
        // Of several IPv6 addresses the last added would be the source; the member's is to be.
        let source = Family::V6.on_lan(lan, HOSTS[0]);
        batch += &format!("route add ::/0 via {v6} src {source}\n");
        client.ip(&batch);
    }
}

impl Lab {
    /// What to build: one LAN, MTU 1500, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { lans: 1, mtu: 1500 }
    }

    /// A lab with one LAN.
    ///
    /// # Panics
    ///
    /// As [`Builder::build`] does.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Where the clients of the first LAN live.
    #[must_use]
    pub fn client(&self) -> &Netns {
        &self.clients[0]
    }

    /// Where the clients of a LAN live, counted from 0.
    #[must_use]
    pub fn client_on(&self, lan: usize) -> &Netns {
        &self.clients[lan]
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &Netns {
        &self.gateway
    }

    /// Where the origins live.
    #[must_use]
    pub fn internet(&self) -> &Netns {
        &self.internet
    }

    /// A directory for configuration, state and logs, removed with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory on the BPF file system that the gateway of this lab pins into.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// The gateway's LAN devices.
    #[must_use]
    pub fn lan_devices(&self) -> Vec<String> {
        (0..self.clients.len())
            .map(|lan| format!("lan{lan}"))
            .collect()
    }

    /// Leaves the lab standing after the process has ended.
    ///
    /// # Panics
    ///
    /// When nobody could find it afterwards, to take it down.
    pub fn keep(self) {
        if let Err(error) = self.janitor.keep() {
            panic!("the lab cannot be kept: {error}");
        }
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// Mounts the BPF file system where systemd would, unless it is there.
fn mount_bpffs() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ');
        words.nth(1) == Some("/sys/fs/bpf") && words.next() == Some("bpf")
    });
    if mounted {
        return;
    }
    match Command::new("mount")
        .args(["-t", "bpf", "bpf", "/sys/fs/bpf"])
        .status()
    {
        Ok(status) if status.success() => {}
        // Another test may have been faster; what counts is that it is there.
        _ => assert!(
            fs::read_to_string("/proc/mounts").is_ok_and(|text| text.contains(" /sys/fs/bpf bpf ")),
            "the BPF file system cannot be mounted on /sys/fs/bpf"
        ),
    }
}
