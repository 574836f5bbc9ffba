//! What of the clients' own packets reaches the internet: counted by its kernel, so that none is
//! missed.

use std::process::{Command, Stdio};

use serde_json::Value;
use sluice_tests::lab::Lab;

use crate::support::said;

/// Whatever comes from a client's own address has been forwarded, not relayed: the daemon's
/// connections come from the gateway's. NTP is open, and shows that counting works.
const RULES: &str = "
table inet leaks {
    counter leaked { }
    counter open { }
    chain arrived {
        type filter hook prerouting priority -300;
        ip saddr 10.64.0.0/10 udp dport 123 counter name open accept
        ip6 saddr fd00::/8 udp dport 123 counter name open accept
        ip saddr 10.64.0.0/10 counter name leaked
        ip6 saddr fd00::/8 counter name leaked
    }
}
";

/// The counters of one lab.
pub(crate) struct Leaks<'a> {
    lab: &'a Lab,
}

impl<'a> Leaks<'a> {
    pub(crate) fn watch(lab: &'a Lab) -> Self {
        let rules = lab.dir().join("leaks.nft");
        std::fs::write(&rules, RULES).unwrap();
        let mut nft = Command::new("nft");
        let output = lab.internet().output(nft.arg("-f").arg(rules));
        assert!(output.status.success(), "nft: {}", said(&output));
        Self { lab }
    }

    /// Packets of clients that were forwarded and should not have been.
    pub(crate) fn leaked(&self) -> u64 {
        self.count("leaked")
    }

    /// Packets of clients to the open port.
    pub(crate) fn open(&self) -> u64 {
        self.count("open")
    }

    fn count(&self, name: &str) -> u64 {
        let mut nft = Command::new("nft");
        nft.args(["-j", "list", "counter", "inet", "leaks", name])
            .stdin(Stdio::null());
        let output = self.lab.internet().output(&mut nft);
        let listing: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        let objects = listing["nftables"].as_array().unwrap();
        let packets = objects
            .iter()
            .find_map(|object| object["counter"]["packets"].as_u64());
        packets.unwrap_or_else(|| panic!("no counter {name}: {listing}"))
    }
}
