//! Start, restart, refusal, removal.

use std::fs;

use aya::{
    maps::{Array, HashMap, Map, MapData},
    programs::{
        SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
    },
};
use sluice_abi::Hook;
use sluice_steer::{Error, PinDir, Steering, status, unload};

use crate::support::{Place, eventually, exists};

/// Identity of a pinned link, and of the program that it holds.
fn link(place: &Place, device: &str, hook: Hook) -> (u32, u32) {
    let path = PinDir::new(place.bpffs_dir()).link(device, hook);
    let info = FdLink::from(PinnedLink::from_pin(path).unwrap())
        .info()
        .unwrap();
    (info.id(), info.program_id())
}

fn programs(device: &str, side: TcAttachType) -> Vec<u32> {
    let (_, programs) = SchedClassifier::query_tcx(device, side).unwrap();
    programs.iter().map(|info| info.id()).collect()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h3_a_restart_adopts_the_links_and_exchanges_the_programs() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    place.block_on(async || {
        let first = Steering::start(&place.options(&["lan0"])).await.unwrap();
        assert_eq!(first.attached()[0].device, "lan0");
        assert_eq!(first.generation().unwrap(), 1);
        drop(first);
        let before = Hook::ALL.map(|hook| link(&place, "lan0", hook));
        assert_eq!(programs("lan0", TcAttachType::Ingress), [before[0].1]);
        assert_eq!(programs("lan0", TcAttachType::Egress), [before[1].1]);

        let second = Steering::start(&place.options(&["lan0"])).await.unwrap();
        let after = Hook::ALL.map(|hook| link(&place, "lan0", hook));
        for (before, after) in before.into_iter().zip(after) {
            assert_eq!(before.0, after.0, "the link is the same");
            assert_ne!(before.1, after.1, "the program is another");
        }
        assert_eq!(programs("lan0", TcAttachType::Ingress), [after[0].1]);
        // A number is never used again for another policy, or old flows would be taken for its own.
        assert_eq!(second.generation().unwrap(), 2);
        drop(second);
        assert_eq!(programs("lan0", TcAttachType::Ingress), [after[0].1]);
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn two_owners_exclude_each_other_until_the_first_drains() {
    let place = Place::new();
    place.block_on(async || {
        let first = Steering::start(&place.options(&[])).await.unwrap();
        first.heartbeat().unwrap();
        let options = place.options(&[]);
        assert!(matches!(
            Steering::start(&options).await,
            Err(Error::Busy(_))
        ));
        assert!(matches!(
            unload(&place.unload_options()).await,
            Err(Error::Busy(_))
        ));
        first.release();
        let second = Steering::start(&options).await.unwrap();
        assert!(matches!(first.heartbeat(), Err(Error::Released)));
        assert!(matches!(
            first.publish(&options.policy),
            Err(Error::Released)
        ));
        second.heartbeat().unwrap();
        first.counters().unwrap();
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_load_without_a_daemon_closes_the_gate() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    place.block_on(async || {
        assert!(matches!(
            status(&place.bpffs_dir()),
            Err(Error::NotLoaded(_))
        ));
        let attached = Steering::load_only(&place.options(&["lan0"]))
            .await
            .unwrap();
        assert_eq!(attached.len(), 1);
        let found = status(&place.bpffs_dir()).unwrap();
        assert_eq!((found.abi, found.generation), (sluice_abi::ABI_VERSION, 1));
        assert!(!found.is_daemon_alive() && found.heartbeat_age_ns.is_none());
        assert!(!found.fail_open);
        let [device] = found.devices.as_slice() else {
            panic!("{:?}", found.devices)
        };
        assert!(device.name == "lan0" && device.ingress && device.egress);

        let daemon = Steering::start(&place.options(&["lan0"])).await.unwrap();
        daemon.heartbeat().unwrap();
        assert!(status(&place.bpffs_dir()).unwrap().is_daemon_alive());
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn incompatible_pins_are_refused_by_name_and_left_in_force() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    let options = place.options(&["lan0"]);
    let flows = place.bpffs_dir().join("maps/FLOWS");
    place.block_on(async || {
        drop(Steering::start(&options).await.unwrap());
        let before = link(&place, "lan0", Hook::LanIngress);

        // Another layout's number.
        let active = MapData::from_pin(place.bpffs_dir().join("maps/ACTIVE")).unwrap();
        let mut active: Array<_, u32> = Map::from_map_data(active).unwrap().try_into().unwrap();
        let version = active.get(&0, 0).unwrap();
        active.set(0, version + 1, 0).unwrap();
        let refused = Steering::start(&options).await.err().unwrap();
        assert!(
            matches!(&refused, Error::IncompatiblePin { map: "ACTIVE", .. }),
            "{refused}"
        );
        active.set(0, version, 0).unwrap();

        // A map of another shape.
        fs::remove_file(&flows).unwrap();
        let small: HashMap<MapData, u32, u32> = HashMap::create(16, 0).unwrap();
        small.pin(&flows).unwrap();
        let refused = Steering::start(&options).await.err().unwrap();
        assert!(
            matches!(&refused, Error::IncompatiblePin { map: "FLOWS", .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("sluice unload"), "{refused}");

        assert_eq!(link(&place, "lan0", Hook::LanIngress), before);
        assert_eq!(programs("lan0", TcAttachType::Ingress), [before.1]);
        assert!(!unload(&place.unload_options()).await.unwrap().is_nothing());
        Steering::start(&options).await.unwrap();
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn unload_leaves_nothing_also_where_parts_are_missing() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    place.block_on(async || {
        drop(Steering::start(&place.options(&["lan0"])).await.unwrap());
        let unloaded = unload(&place.unload_options()).await.unwrap();
        assert_eq!(
            (unloaded.links, unloaded.maps),
            (2, sluice_abi::map::ALL.len())
        );
        assert!(!exists(&place.bpffs_dir()));
        eventually("the programs are gone", async || {
            programs("lan0", TcAttachType::Ingress).is_empty()
                && programs("lan0", TcAttachType::Egress).is_empty()
        })
        .await;
        assert!(unload(&place.unload_options()).await.unwrap().is_nothing());

        drop(Steering::start(&place.options(&["lan0"])).await.unwrap());
        fs::remove_file(place.bpffs_dir().join("maps/ACTIVE")).unwrap();
        fs::remove_file(PinDir::new(place.bpffs_dir()).link("lan0", Hook::LanEgress)).unwrap();
        place.ip("rule del priority 51");
        unload(&place.unload_options()).await.unwrap();
        assert!(!exists(&place.bpffs_dir()));
        assert!(!place.ip("-6 rule").contains("5100"));
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_stuck_owner_can_be_overruled() {
    let place = Place::new();
    place.ip("link add lan0 type veth peer name far0");
    place.block_on(async || {
        let stuck = Steering::start(&place.options(&["lan0"])).await.unwrap();
        let watcher = stuck.clone();
        let task = tokio::spawn(async move { watcher.watch().await });
        let options = sluice_steer::UnloadOptions {
            force: true,
            ..place.unload_options()
        };
        assert!(!unload(&options).await.unwrap().is_nothing());
        // Should it come to its senses, it closes nothing again.
        assert!(matches!(task.await.unwrap(), Err(Error::NotLoaded(_))));
        assert!(matches!(stuck.heartbeat(), Err(Error::Released)));
        assert!(!place.ip("rule").contains("5100"));
        assert!(programs("lan0", TcAttachType::Ingress).is_empty());
        drop(stuck);
    });
}
