//! What the daemon writes and reads.

use std::net::{TcpListener, UdpSocket};

use aya::maps::{LpmTrie, Map, MapData, lpm_trie::Key};
use sluice_abi::{
    Addr, Hook, Reason, Verdict,
    table::{Direction, PrefixKey},
};
use sluice_policy::kernel::{Egress, EgressAction, EgressRule, Traffic};
use sluice_steer::{Error, Steering};

use crate::support::{Place, address, compiled, egress, policy};

fn rule(from: &str, action: EgressAction) -> EgressRule {
    EgressRule {
        name: from.to_owned(),
        direction: Direction::Out,
        from: Some(vec![from.parse().unwrap()]),
        to: None,
        traffic: Traffic::default(),
        action,
    }
}

/// The slot, address and prefix length of every client prefix in the kernel.
fn clients(place: &Place) -> Vec<(u32, Addr, u32)> {
    let map = MapData::from_pin(place.bpffs_dir().join("maps/CLIENTS")).unwrap();
    let map: LpmTrie<_, [u32; 5], u32> = Map::from_map_data(map).unwrap().try_into().unwrap();
    let key = |key: Key<[u32; 5]>| {
        let [slot, a, b, c, d] = key.data();
        (
            slot,
            Addr([a, b, c, d]),
            key.prefix_len() - PrefixKey::SLOT_BITS,
        )
    };
    map.keys().map(|found| key(found.unwrap())).collect()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_generation_replaces_the_one_before_the_last() {
    let place = Place::new();
    place.block_on(async || {
        let steering = Steering::start(&place.options(&[])).await.unwrap();
        let publish = |from: &str| {
            let rules = vec![rule(from, EgressAction::Pass)];
            steering
                .publish(&compiled(&Egress { rules, ..egress() }))
                .unwrap()
        };
        let addr = |text| Addr::from(address(text));
        assert_eq!(steering.generation().unwrap(), 1);
        assert_eq!(publish("10.1.0.0/16"), 2);
        assert_eq!(clients(&place), [(0, addr("10.1.0.0"), 112)]);
        assert_eq!(publish("10.2.0.0/16"), 3);
        // Programs that began before the flip still read the slot before.
        let mut both = clients(&place);
        both.sort_by_key(|entry| entry.0);
        assert_eq!(
            both,
            [(0, addr("10.1.0.0"), 112), (1, addr("10.2.0.0"), 112)]
        );
        assert_eq!(publish("2001:db8::/32"), 4);
        let both = clients(&place);
        assert!(both.contains(&(0, addr("2001:db8::"), 32)), "{both:?}");
        assert!(both.contains(&(1, addr("10.2.0.0"), 112)), "{both:?}");
        assert!(!both.contains(&(0, addr("10.1.0.0"), 112)), "{both:?}");
        assert_eq!(steering.publish(&policy()).unwrap(), 5);
        assert_eq!(steering.publish(&policy()).unwrap(), 6);
        assert_eq!(clients(&place), []);
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn only_listening_sockets_are_taken() {
    let place = Place::new();
    place.block_on(async || {
        let steering = Steering::start(&place.options(&[])).await.unwrap();
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        steering.set_listeners(&v4, Some(&v6)).unwrap();
        steering.set_listeners(&v4, None::<&TcpListener>).unwrap();
        let wrong = UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = steering.set_listeners(&wrong, None::<&TcpListener>);
        assert!(matches!(refused, Err(Error::NotListening)));
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn live_traffic_is_counted_and_reported() {
    let (place, client) = (Place::new(), Place::new());
    place.ip("link add lan0 type veth peer name far0");
    client.adopt(&place, "far0");
    place.ip("address add 10.20.0.1/24 dev lan0");
    place.ip("link set lan0 up");
    client.ip("address add 10.20.0.2/24 dev far0");
    client.ip("link set far0 up");
    client.ip("route add default via 10.20.0.1");
    place.block_on(async || {
        let steering = Steering::start(&place.options(&["lan0"])).await.unwrap();
        let mut events = steering.events().unwrap();
        client.run(|| {
            let socket = UdpSocket::bind("10.20.0.2:0").unwrap();
            socket.send_to(b"native", "203.0.113.9:40000").unwrap();
        });
        let mut seen = Vec::new();
        while !seen
            .iter()
            .any(|event: &sluice_abi::Event| event.protocol == 17)
        {
            events.read(&mut seen).await.unwrap();
        }
        let event = seen.iter().find(|event| event.protocol == 17).unwrap();
        assert_eq!(event.src.to_ip(), address("10.20.0.2"));
        assert_eq!(event.dst.to_ip(), address("203.0.113.9"));
        assert_eq!(event.dport, 40000_u16.to_be());
        assert_eq!(event.verdict, Verdict::Reject as u8);
        let reason = Reason::from_code(event.reason).unwrap();
        let counters = steering.counters().unwrap();
        assert_eq!(
            counters.packets_of(Hook::LanIngress, Verdict::Reject, reason),
            1,
            "{counters:?}"
        );
        assert!(counters.events.sent >= 1 && counters.events.lost == 0);
        assert_eq!(steering.flow_fill().unwrap().established, 0);
        let fill = steering.map_fill().unwrap();
        for (name, entries, evicts) in [("FLOWS", 0, false), ("REJECT_BUCKETS", 1, true)] {
            let map = fill.iter().find(|map| map.name == name).unwrap();
            assert_eq!((map.entries, map.evicts), (entries, evicts), "{name}");
            assert!(map.max_entries > map.entries);
        }
        let gateway = fill.iter().find(|map| map.name == "GATEWAY").unwrap();
        assert!(gateway.entries >= 2, "{gateway:?}");

        let vitals = steering.vitals().unwrap();
        assert_eq!(vitals.generation, steering.generation().unwrap());
        assert_eq!((vitals.heartbeat_age_ns, vitals.devices), (None, 1));
        steering.heartbeat().unwrap();
        let vitals = steering.vitals().unwrap();
        assert!(vitals.heartbeat_age_ns.unwrap() < vitals.heartbeat_limit_ns);
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_policy_that_does_not_fit_changes_nothing() {
    let place = Place::new();
    place.block_on(async || {
        let steering = Steering::start(&place.options(&[])).await.unwrap();
        let mut large = policy();
        large.tables = vec![large.tables[0].clone(); 65];
        assert!(matches!(
            steering.publish(&large),
            Err(Error::PolicyTooLarge { .. })
        ));
        assert_eq!(steering.generation().unwrap(), 1);
    });
}
