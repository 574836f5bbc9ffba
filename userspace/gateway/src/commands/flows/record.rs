//! One access record, whichever names its fields have.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::daemon::record::SCHEMA_VERSION;

/// What a record tells of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Kind {
    /// A flow, at its end.
    Flow,
    /// A request.
    Request,
    /// Packets that the kernel refused.
    Packets,
}

/// What is shown of a record, and asked of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// RFC 3339 in UTC, with milliseconds.
    pub(super) time: String,
    pub(super) client: Option<IpAddr>,
    pub(super) user: Option<String>,
    pub(super) verdict: String,
    /// The server's name, in lower case.
    pub(super) host: Option<String>,
    /// What was asked for: method and URL, name, or address and port.
    pub(super) what: String,
    pub(super) reason: String,
    pub(super) rule: Option<String>,
    pub(super) bytes: Option<u64>,
    pub(super) milliseconds: Option<u64>,
    pub(super) decrypted: bool,
}

/// Why a line is not shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum LineError {
    #[error("no access record: give the file that `access` in [log] is written to")]
    NoRecord,
    #[error(
        "an access record of schema {0}, and this sluice reads {SCHEMA_VERSION}: take the one that \
         wrote it"
    )]
    Version(String),
}

impl Record {
    /// Reads a line of either format.
    pub(super) fn parse(line: &str) -> Result<Self, LineError> {
        let value: Value = serde_json::from_str(line).map_err(|_| LineError::NoRecord)?;
        let is_ecs = value.get("@timestamp").is_some();
        let version = if is_ecs {
            value.pointer("/sluice/v")
        } else {
            value.get("v")
        };
        match version {
            None => return Err(LineError::NoRecord),
            Some(version) if version.as_u64() == Some(SCHEMA_VERSION.into()) => {}
            Some(version) => return Err(LineError::Version(version.to_string())),
        }
        let read = if is_ecs { ecs } else { named };
        read(&Fields(&value)).ok_or(LineError::NoRecord)
    }
}

struct Fields<'v>(&'v Value);

impl<'v> Fields<'v> {
    fn text(&self, pointer: &str) -> Option<&'v str> {
        self.0.pointer(pointer)?.as_str()
    }

    fn owned(&self, pointer: &str) -> Option<String> {
        self.text(pointer).map(str::to_owned)
    }

    fn number(&self, pointer: &str) -> Option<u64> {
        self.0.pointer(pointer)?.as_u64()
    }

    fn is(&self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool) == Some(true)
    }
}

/// A record by the schema of this project.
fn named(fields: &Fields<'_>) -> Option<Record> {
    let kind = kind(fields.text("/kind")?)?;
    let url = fields.text("/url").unwrap_or_default();
    let destination = fields.text("/destination");
    let host = match kind {
        Kind::Request => host(url).map(str::to_ascii_lowercase),
        _ => fields.text("/sni").map(str::to_ascii_lowercase),
    };
    let client = fields.text("/client");
    let bytes = match kind {
        Kind::Flow => add(fields.number("/to_origin"), fields.number("/to_client")),
        _ => fields.number("/bytes"),
    };
    let packets = Packets {
        address: destination,
        port: fields.number("/port"),
        protocol: fields.number("/protocol"),
        count: fields.number("/packets"),
        other: fields.is("/other"),
    };
    Some(Record {
        time: fields.owned("/time")?,
        client: client.and_then(address),
        user: fields.owned("/user"),
        verdict: fields.owned("/verdict")?,
        what: match kind {
            Kind::Request => request(fields.text("/method"), url, fields.number("/status")),
            Kind::Flow => host
                .clone()
                .or(destination.map(str::to_owned))
                .unwrap_or_default(),
            Kind::Packets => packets.shown(),
        },
        host,
        reason: fields.owned("/reason").unwrap_or_default(),
        rule: fields.owned("/rule"),
        bytes,
        milliseconds: fields.number("/duration_ms"),
        decrypted: fields.is("/decrypted"),
        kind,
    })
}

/// A record by the names of the Elastic Common Schema; what is null is not there.
fn ecs(fields: &Fields<'_>) -> Option<Record> {
    let kind = kind(fields.text("/event/dataset")?.strip_prefix("sluice.")?)?;
    let url = fields.text("/url/full").unwrap_or_default();
    let inbound = fields.text("/network/direction") == Some("inbound");
    let (client, other) = if inbound {
        ("destination", "source")
    } else {
        ("source", "destination")
    };
    let ip = |side: &str| fields.text(&format!("/{side}/ip"));
    let host = match kind {
        Kind::Request => fields.text("/url/domain").or_else(|| host(url)),
        _ => fields.text("/tls/client/server_name"),
    };
    let host = host.map(str::to_ascii_lowercase);
    let port = fields.number("/destination/port");
    let packets = Packets {
        address: ip(other),
        port,
        protocol: fields
            .text("/network/iana_number")
            .and_then(|number| number.parse().ok()),
        count: fields.number("/network/packets"),
        other: fields.is("/sluice/other"),
    };
    Some(Record {
        time: fields.owned("/@timestamp")?,
        client: ip(client).and_then(address),
        user: fields.owned("/user/name"),
        verdict: fields.owned("/event/action")?,
        what: match kind {
            Kind::Request => request(
                fields.text("/http/request/method"),
                url,
                fields.number("/http/response/status_code"),
            ),
            Kind::Flow => host.clone().unwrap_or_else(|| {
                let address = ip("destination").unwrap_or_default();
                with_port(address, port)
            }),
            Kind::Packets => packets.shown(),
        },
        host,
        reason: fields.owned("/event/reason").unwrap_or_default(),
        rule: fields.owned("/rule/name"),
        bytes: fields.number("/network/bytes"),
        milliseconds: match kind {
            Kind::Flow => fields
                .number("/event/duration")
                .map(|nanos| nanos / 1_000_000),
            _ => None,
        },
        decrypted: fields.is("/sluice/decrypted"),
        kind,
    })
}

fn kind(word: &str) -> Option<Kind> {
    match word {
        "flow" => Some(Kind::Flow),
        "request" => Some(Kind::Request),
        "packets" => Some(Kind::Packets),
        _ => None,
    }
}

/// An address, be a port behind it or not.
fn address(text: &str) -> Option<IpAddr> {
    let socket = || text.parse::<SocketAddr>().map(|socket| socket.ip()).ok();
    text.parse().ok().or_else(socket)
}

fn add(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.saturating_add(other))
}

/// The host of a URL.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split_once(']').map(|(address, _)| address);
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

fn request(method: Option<&str>, url: &str, status: Option<u64>) -> String {
    let method = method.unwrap_or("-");
    match status {
        Some(status) => format!("{method} {url} {status}"),
        None => format!("{method} {url}"),
    }
}

fn with_port(address: &str, port: Option<u64>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

struct Packets<'v> {
    address: Option<&'v str>,
    port: Option<u64>,
    protocol: Option<u64>,
    count: Option<u64>,
    other: bool,
}

impl Packets<'_> {
    fn shown(&self) -> String {
        let count = self.count.unwrap_or(0);
        if self.other {
            return format!("{count} packets of others");
        }
        let protocol = match self.protocol {
            Some(6) => "tcp".to_owned(),
            Some(17) => "udp".to_owned(),
            Some(1 | 58) => "icmp".to_owned(),
            Some(number) => format!("protocol {number}"),
            None => "?".to_owned(),
        };
        // ICMP has no ports, and the record none but 0.
        let port = self.port.filter(|port| *port > 0);
        let to = with_port(self.address.unwrap_or("?"), port);
        format!("{count} packets {protocol} {to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Format, Log},
        daemon::{
            packets::PacketsRecord,
            record::Record as FlowRecord,
            records::tests::{flow, packets, request, written},
        },
    };

    /// One record of each kind, as the daemon writes them.
    fn lines(format: Format) -> Vec<String> {
        let log = Log {
            format,
            ..Log::default()
        };
        let records = written(&log, |log| {
            log.put(&flow("no shopping"));
            log.put(&FlowRecord {
                user: None,
                sni: None,
                ..flow("other")
            });
            log.put_request(&request("https://a.example:8443/x?y", &[]));
            log.put_packets(&packets(Some([10, 0, 0, 1].into())));
            log.put_packets(&PacketsRecord {
                direction: Some("in"),
                ..packets(Some([10, 0, 0, 1].into()))
            });
            log.put_packets(&packets(None));
        });
        records.iter().map(Value::to_string).collect()
    }

    fn parsed(format: Format) -> Vec<Record> {
        let lines = lines(format);
        lines
            .iter()
            .map(|line| Record::parse(line).unwrap())
            .collect()
    }

    #[test]
    fn both_formats_say_the_same() {
        let named = parsed(Format::Sluice);
        assert_eq!(named, parsed(Format::Ecs));
        let shown: Vec<_> = named.iter().map(|record| record.what.as_str()).collect();
        assert_eq!(
            shown,
            [
                "a.example",
                "[2001:db8::1]:443",
                "GET https://a.example:8443/x?y 403",
                "9 packets udp 203.0.113.1:33033",
                "9 packets udp 203.0.113.1:33033",
                "9 packets of others",
            ]
        );
        let first = &named[0];
        assert_eq!(first.client, Some([10, 0, 0, 1].into()));
        assert_eq!(first.user.as_deref(), Some("alice"));
        assert_eq!(first.rule.as_deref(), Some("no shopping"));
        assert_eq!((first.bytes, first.milliseconds), (Some(12), Some(1)));
        assert_eq!(named[2].host.as_deref(), Some("a.example"));
        assert!(named[2].decrypted);
        assert_eq!(named[4].client, Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn what_is_no_record_or_a_later_one_is_refused() {
        for line in [
            "",
            "{}",
            "[1]",
            "level=info",
            "{\"v\":1,\"kind\":\"other\"}",
        ] {
            assert_eq!(Record::parse(line), Err(LineError::NoRecord), "{line}");
        }
        for line in [
            "{\"v\":2,\"kind\":\"flow\"}",
            "{\"@timestamp\":\"2026-01-31T08:00:00.000Z\",\"sluice\":{\"v\":2}}",
        ] {
            let error = Record::parse(line).unwrap_err().to_string();
            assert!(
                error.contains("of schema 2, and this sluice reads 1"),
                "{error}"
            );
        }
    }
}
