//! Rules and routes: owned, idempotent, removed exactly.

use sluice_steer::{Steering, unload};

use crate::support::{Place, routing};

fn rules(place: &Place) -> String {
    format!("{}{}", place.ip("rule"), place.ip("-6 rule"))
}

fn routes(place: &Place) -> String {
    let all = format!(
        "{}{}",
        place.ip("-4 route show table all"),
        place.ip("-6 route show table all")
    );
    all.lines()
        .filter(|line| line.contains("table 5100"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn rules_and_routes_are_made_once_and_removed_exactly() {
    let place = Place::new();
    place.ip("rule add fwmark 0x7/0xff lookup 77 priority 90");
    let before = rules(&place);
    place.block_on(async || {
        for round in 0..3 {
            let steering = Steering::start(&place.options(&[])).await.unwrap();
            drop(steering);
            let rules = rules(&place);
            assert_eq!(
                rules.matches("lookup 5100").count(),
                2,
                "round {round}: {rules}"
            );
            assert_eq!(
                rules
                    .matches("51:\tfrom all fwmark 0x51000000/0xff000000")
                    .count(),
                2,
                "{rules}"
            );
            let routes = routes(&place);
            assert_eq!(
                routes.matches("local default dev lo").count(),
                2,
                "{routes}"
            );
            assert_eq!(routes.matches("proto 83").count(), 2, "{routes}");
        }
        let unloaded = unload(&place.unload_options()).await.unwrap();
        assert_eq!(unloaded.routes, 4);
    });
    assert_eq!(rules(&place), before);
    assert_eq!(routes(&place), "");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_changed_table_and_mark_leave_nothing_of_the_old_ones() {
    let place = Place::new();
    place.block_on(async || {
        drop(Steering::start(&place.options(&[])).await.unwrap());
        let mut options = place.options(&[]);
        options.routing.table = 5200;
        options.routing.marks = sluice_abi::Marks::new(0x3, 0xf).unwrap();
        drop(Steering::start(&options).await.unwrap());
        let rules = rules(&place);
        assert_eq!(
            rules.matches("fwmark 0x3/0xf lookup 5200").count(),
            2,
            "{rules}"
        );
        assert!(!rules.contains("5100"), "{rules}");
        assert_eq!(routes(&place), "");
        unload(&sluice_steer::UnloadOptions {
            table: 5200,
            ..place.unload_options()
        })
        .await
        .unwrap();
    });
    assert!(!rules(&place).contains("proto 83"));
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_flushed_rule_and_route_come_back() {
    let place = Place::new();
    place.block_on(async || {
        let steering = Steering::start(&place.options(&[])).await.unwrap();
        let watcher = steering.clone();
        let task = tokio::spawn(async move { watcher.watch().await.unwrap() });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        place.ip(&format!("route flush table {}", routing().table));
        place.ip("rule del priority 51");
        crate::support::eventually("rule and route are back", async || {
            rules(&place).matches("lookup 5100").count() == 2
                && routes(&place).matches("local default dev lo").count() == 2
        })
        .await;
        steering.release();
        task.await.unwrap();
    });
}
