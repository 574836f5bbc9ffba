//! LAN devices that come, go, change their names, and carry no Ethernet.

use sluice_abi::Hook;
use sluice_steer::{Attached, DeviceStatus, LinkType, PinDir, Steering, status};

use crate::support::{Place, address, eventually, exists};

fn names(attached: &[Attached]) -> Vec<&str> {
    attached
        .iter()
        .map(|attached| attached.device.as_str())
        .collect()
}

fn judged(place: &Place, device: &str) -> bool {
    status(&place.bpffs_dir())
        .unwrap()
        .devices
        .contains(&DeviceStatus {
            name: device.to_owned(),
            ingress: true,
            egress: true,
        })
}

#[test]
#[ignore = "root: cargo xtask test"]
fn several_devices_of_either_kind_share_one_policy() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    // The name of a VLAN device; a BPF filesystem takes no dots.
    place.ip("link add lan0.100 type veth peer name far1");
    place.ip("tuntap add wg0 mode tun");
    place.block_on(async || {
        let steering = Steering::start(&place.options(&["lan*", "wg0"]))
            .await
            .unwrap();
        let attached = steering.attached();
        assert_eq!(names(&attached), ["lan0", "lan0.100", "wg0"]);
        let kinds: Vec<_> = attached.iter().map(|attached| attached.link_type).collect();
        assert_eq!(
            kinds,
            [LinkType::Ethernet, LinkType::Ethernet, LinkType::L3]
        );
        for device in ["lan0", "lan0.100", "wg0"] {
            assert!(judged(&place, device), "{device}");
        }
        // Taken out of the configuration, a device is let go.
        drop(steering);
        let steering = Steering::start(&place.options(&["lan0"])).await.unwrap();
        assert_eq!(names(&steering.attached()), ["lan0"]);
        assert!(!exists(
            &PinDir::new(place.bpffs_dir()).link("wg0", Hook::LanIngress)
        ));
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h6_a_device_that_appears_or_is_made_anew_is_attached_within_a_second() {
    let place = Place::new();
    place.block_on(async || {
        let steering = Steering::start(&place.options(&["vlan*"])).await.unwrap();
        let watcher = steering.clone();
        let task = tokio::spawn(async move { watcher.watch().await.unwrap() });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        for _ in 0..3 {
            place.ip("link add vlan7 type veth peer name far0");
            let took = eventually("attached", async || judged(&place, "vlan7")).await;
            assert!(took.as_millis() < 1000, "{took:?}");
            place.ip("link del vlan7");
            eventually("let go", async || steering.attached().is_empty()).await;
            assert!(!exists(
                &PinDir::new(place.bpffs_dir()).link("vlan7", Hook::LanIngress)
            ));
        }

        // Made anew faster than anybody looks.
        place.ip("link add vlan7 type veth peer name far0");
        eventually("attached", async || judged(&place, "vlan7")).await;
        let index = steering.attached()[0].index;
        place.ip("link del vlan7");
        place.ip("link add vlan7 type veth peer name far0");
        eventually("attached again", async || {
            steering
                .attached()
                .first()
                .is_some_and(|attached| attached.index != index)
                && judged(&place, "vlan7")
        })
        .await;

        // A name that moves from one device to another.
        place.ip("link set vlan7 name old7");
        place.ip("link add vlan7 type veth peer name far1");
        eventually("the new owner of the name has them", async || {
            judged(&place, "vlan7")
        })
        .await;
        assert_eq!(names(&steering.attached()), ["vlan7"]);

        steering.release();
        task.await.unwrap();
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_detached_program_is_put_back() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    place.block_on(async || {
        let steering = Steering::start(&place.options(&["lan0"])).await.unwrap();
        let watcher = steering.clone();
        let task = tokio::spawn(async move { watcher.watch().await.unwrap() });
        std::fs::remove_file(PinDir::new(place.bpffs_dir()).link("lan0", Hook::LanIngress))
            .unwrap();
        eventually("put back", async || judged(&place, "lan0")).await;
        steering.release();
        task.await.unwrap();
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn the_gateways_addresses_follow_the_devices() {
    use aya::maps::{HashMap, Map, MapData};
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    place.ip("address add 10.20.0.1/24 dev lan0");
    place.block_on(async || {
        let steering = Steering::start(&place.options(&["lan0"])).await.unwrap();
        let map = MapData::from_pin(place.bpffs_dir().join("maps/GATEWAY")).unwrap();
        let map: HashMap<_, [u32; 4], u32> = Map::from_map_data(map).unwrap().try_into().unwrap();
        let kind = |text: &str| map.get(&sluice_abi::Addr::from(address(text)).0, 0).ok();
        assert_eq!(kind("10.20.0.1"), Some(1));
        assert_eq!(kind("10.20.0.255"), Some(2));
        // Nobody reaches these from outside: a packet that tries is dropped, not the gateway's.
        assert_eq!(kind("127.0.0.1"), None);
        assert_eq!(kind("::1"), None);
        assert_eq!(kind("10.20.0.2"), None);

        let watcher = steering.clone();
        let task = tokio::spawn(async move { watcher.watch().await.unwrap() });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        place.ip("address add 2001:db8::1/64 dev lan0 nodad");
        place.ip("address del 10.20.0.1/24 dev lan0");
        eventually("the map follows", async || {
            kind("2001:db8::1") == Some(1)
                && kind("10.20.0.1").is_none()
                && kind("10.20.0.255").is_none()
        })
        .await;
        steering.release();
        task.await.unwrap();
    });
}
