//! Flows to origins that cannot be had.

use sluice_tests::{dial, family::Family, lab::Lab};

use crate::{
    inspected::records,
    support::{OPEN, PATIENCE, eventually},
};

#[test]
#[ignore = "root: cargo xtask test"]
fn an_origin_that_cannot_be_had_is_told_from_one_that_refuses() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(OPEN);
    let (refusing, unreachable) = (5, 77);
    for family in Family::ALL {
        // The way there ends at the gateway.
        let route = format!("route add unreachable {}", family.origin(unreachable));
        lab.gateway().ip(&route);
        for (number, end) in [
            (refusing, "origin-refused"),
            (unreachable, "origin-unreachable"),
        ] {
            let origin = family.origin_at(number, 443);
            // By its addresses it passes, so that the way there is tried at once: the client may be
            // told of the failure before it has seen that it is connected.
            let _client = dial::tcp(lab.client(), family.other(), origin, PATIENCE);
            eventually(end, || {
                records(&daemon).iter().any(|record| {
                    record["end"] == end && record["destination"] == origin.to_string()
                })
            });
        }
    }
}
