//! Records under the field names of the Elastic Common Schema; RECORDS.md has the table.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::Line;
use crate::daemon::packets::PacketsRecord;
use crate::daemon::record::{Record, RequestRecord, SCHEMA_VERSION};

/// The version of the schema whose names are used.
const ECS: &str = "8.17.0";

/// A record that has names of the Elastic Common Schema.
pub(super) trait Ecs {
    /// The whole record.
    fn ecs(&self, line: &Line<'_>) -> Value;
}

impl Ecs for Record<'_> {
    fn ecs(&self, line: &Line<'_>) -> Value {
        let refused = self.verdict == "block";
        pruned(json!({
            "@timestamp": self.time,
            "ecs": { "version": ECS },
            "event": event(line, self.verdict, Some(self.reason), refused, Some(self.duration_ms)),
            "source": side(self.client, Some(self.to_origin)),
            "destination": side(self.destination, Some(self.to_client)),
            "network": network(self.client.ip(), Some(self.to_origin + self.to_client), "tcp"),
            "user": { "name": self.user },
            "rule": { "name": self.rule },
            "tls": { "client": { "server_name": self.sni } },
            "tags": self.tags,
            "sluice": {
                "v": SCHEMA_VERSION,
                "stage": self.stage,
                "tls": self.tls,
                "alpn": self.alpn,
                "ja4": self.ja4,
                "ech": self.ech,
                "shadow": self.shadow,
                "end": self.end,
                "spliced": self.spliced,
                "peek_us": self.peek_us,
                "connect_us": self.connect_us,
                "server_hello_us": self.server_hello_us,
                "generation": self.generation,
                "decrypted": self.decrypted,
                "listener": self.listener,
                "connect": self.connect,
                "inspected_by": self.inspected_by,
                "inspected_because": self.inspected_because,
                "interception": self.interception,
            },
        }))
    }
}

impl Ecs for RequestRecord<'_> {
    fn ecs(&self, line: &Line<'_>) -> Value {
        let refused = self.verdict != "allow";
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme);
        pruned(json!({
            "@timestamp": self.time,
            "ecs": { "version": ECS },
            "event": event(line, self.verdict, Some(self.reason), refused, None),
            "source": side(self.client, None),
            "destination": side(self.destination, None),
            "network": network(self.client.ip(), None, "tcp"),
            "user": { "name": self.user },
            "rule": { "name": self.rule },
            "url": {
                "full": Some(self.url).filter(|url| !url.is_empty()),
                "scheme": scheme,
                "domain": host(self.url),
            },
            "http": {
                "request": { "method": self.method },
                "response": { "status_code": self.status },
            },
            "tags": self.tags,
            "sluice": {
                "v": SCHEMA_VERSION,
                "listener": self.listener,
                "reference": self.reference,
                "decrypted": self.decrypted,
                "url_cut": line.url_cut.then_some(true),
                "generation": self.generation,
            },
        }))
    }
}

impl Ecs for PacketsRecord {
    fn ecs(&self, line: &Line<'_>) -> Value {
        let transport = self.protocol.map(transport);
        let address = self.client.or(self.destination);
        pruned(json!({
            "@timestamp": self.time,
            "ecs": { "version": ECS },
            "event": event(line, self.verdict, self.reason, true, Some(self.interval_ms)),
            "source": { "ip": if self.is_inbound() { self.destination } else { self.client } },
            "destination": {
                "ip": if self.is_inbound() { self.client } else { self.destination },
                "port": self.port,
            },
            "network": {
                "type": address.map(family),
                "transport": transport,
                "iana_number": self.protocol.map(|number| number.to_string()),
                "direction": self.direction.map(|_| {
                    if self.is_inbound() { "inbound" } else { "outbound" }
                }),
                "packets": self.packets,
                "bytes": self.bytes,
            },
            "sluice": {
                "v": SCHEMA_VERSION,
                "other": self.other.then_some(true),
                "sampled": self.sampled,
                "missed": self.missed,
            },
        }))
    }
}

fn event(
    line: &Line<'_>,
    verdict: &str,
    reason: Option<&str>,
    refused: bool,
    duration_ms: Option<u64>,
) -> Value {
    json!({
        "kind": "event",
        "module": "sluice",
        "dataset": format!("sluice.{}", line.kind.name()),
        "category": ["network"],
        "type": ["connection", if refused { "denied" } else { "allowed" }],
        "action": verdict,
        "outcome": if refused { "failure" } else { "success" },
        "reason": reason,
        "duration": duration_ms.map(|milliseconds| milliseconds.saturating_mul(1_000_000)),
    })
}

fn side(address: SocketAddr, bytes: Option<u64>) -> Value {
    json!({ "ip": address.ip(), "port": address.port(), "bytes": bytes })
}

fn network(address: IpAddr, bytes: Option<u64>, transport: &str) -> Value {
    json!({ "type": family(address), "transport": transport, "bytes": bytes })
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    }
}

fn transport(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "ipv6-icmp".into(),
        other => crate::config::protocol_name(other),
    }
}

/// The host of a URL in its normal form.
pub(super) fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split_once(']').map(|(address, _)| address);
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

/// The value without what is null, or empty because of that.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(key, value)| {
                let value = pruned(value);
                let empty = value.is_null()
                    || value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                (!empty).then_some((key, value))
            });
            Value::Object(kept.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_urls() {
        for (url, wanted) in [
            ("https://a.example/x", Some("a.example")),
            ("https://a.example:8443", Some("a.example")),
            ("http://[2001:db8::1]:80/", Some("2001:db8::1")),
            ("", None),
        ] {
            assert_eq!(host(url), wanted, "{url}");
        }
    }
}
