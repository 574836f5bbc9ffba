//! The status for machines.

use serde_json::{Value, json};
use sluice_steer::{Counter, Status};

use super::{facts::Facts, health::Health};

/// One object. What was there before stays at its top; what cannot be told has an `error`.
pub(super) fn value(facts: &Facts, health: &Health) -> Value {
    let mut value = match &facts.kernel {
        Ok(status) => kernel(status),
        Err(why) => json!({ "error": why }),
    };
    let rest = json!({
        "health": { "state": health.state.name(), "faults": health.faults },
        "process": match &facts.daemon {
            Ok(daemon) => json!(daemon),
            Err(why) => json!({ "error": why }),
        },
        "rejected": match &facts.rejected {
            Ok(remembered) => json!(remembered),
            Err(why) => json!({ "error": why.to_string() }),
        },
        "records": match &facts.log {
            Ok(log) => json!(log),
            Err(why) => json!({ "error": why.to_string() }),
        },
        "ca": match &facts.ca {
            None => Value::Null,
            Some(Ok(ca)) => json!({
                "subject": ca.subject,
                "not_after": ca.not_after,
                "days_left": ca.days_left(facts.now),
            }),
            Some(Err(why)) => json!({ "error": why }),
        },
    });
    if let (Value::Object(value), Value::Object(rest)) = (&mut value, rest) {
        value.extend(rest);
    }
    value
}

fn kernel(status: &Status) -> Value {
    let counters = status.counters.packets.iter().map(|counter| {
        let Counter {
            hook,
            verdict,
            reason,
            packets,
            bytes,
        } = counter;
        json!({
            "hook": hook.name(), "verdict": verdict.name(), "reason": reason.name(),
            "packets": packets, "bytes": bytes,
        })
    });
    let devices = status.devices.iter().map(
        |device| json!({ "name": device.name, "ingress": device.ingress, "egress": device.egress }),
    );
    let events = status.counters.events;
    json!({
        "abi": status.abi,
        "generation": status.generation,
        "daemon": status.is_daemon_alive(),
        "heartbeat_age_seconds": status.heartbeat_age_ns.map(|age| age as f64 / 1e9),
        "on_failure": if status.fail_open { "open" } else { "closed" },
        "devices": devices.collect::<Vec<_>>(),
        "flows": {
            "established": status.flows.established,
            "embryonic": status.flows.embryonic,
        },
        "events": { "sent": events.sent, "sampled": events.sampled, "lost": events.lost },
        "counters": counters.collect::<Vec<_>>(),
    })
}
