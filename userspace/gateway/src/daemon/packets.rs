//! Packets that the kernel programs refused, summed up so that no scan floods the log.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use sluice_abi::{Addr, Event, Hook, Reason, Verdict};
use sluice_steer::{EventStats, Steering};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::record::rfc3339;
use super::worker::{Phase, Shared};

/// Sums that are kept apart in one interval; what is more is summed up together.
const APART: usize = 4096;

/// How often it is looked whether an interval is over.
const LOOK: Duration = Duration::from_millis(500);

/// What there is to say of packets that were refused alike within an interval.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PacketsRecord {
    /// When the interval began, in RFC 3339 form.
    pub time: String,
    /// Milliseconds that it lasted.
    pub interval_ms: u64,
    /// The address behind the gateway; absent where several are summed up.
    pub client: Option<IpAddr>,
    /// The address on the other side.
    pub destination: Option<IpAddr>,
    /// The port that the packets were sent to; absent where the protocol has none.
    pub port: Option<u16>,
    /// Number of the transport protocol.
    pub protocol: Option<u8>,
    /// "out": from the LAN; "in": towards it.
    pub direction: Option<&'static str>,
    /// "drop" or "reject"; "refused" where several are summed up.
    pub verdict: &'static str,
    /// Why.
    pub reason: Option<&'static str>,
    /// Packets of which the kernel told.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
    /// Whether this is the sum of all that found no place of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// Whether the kernel told of some packets only: then all the interval's records are too low.
    pub sampled: bool,
    /// Refused packets of the interval that nothing is told of.
    pub missed: u64,
}

impl PacketsRecord {
    /// Whether the packets were on their way into the LAN.
    #[must_use]
    pub fn is_inbound(&self) -> bool {
        self.direction == Some("in")
    }
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Alike {
    client: IpAddr,
    destination: IpAddr,
    port: Option<u16>,
    protocol: u8,
    hook: u8,
    verdict: u8,
    reason: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    packets: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, event: &Event) {
        self.packets += 1;
        self.bytes += u64::from(event.length);
    }
}

/// The refused packets of the interval that goes on.
#[derive(Debug)]
pub struct Refused {
    sums: HashMap<Alike, Sum>,
    other: Sum,
    began: (SystemTime, Instant),
    /// What was counted until the interval began.
    before: EventStats,
}

impl Refused {
    /// Nothing yet; `before` is what the kernel has counted so far.
    #[must_use]
    pub fn new(before: EventStats) -> Self {
        Self {
            sums: HashMap::new(),
            other: Sum::default(),
            began: (SystemTime::now(), Instant::now()),
            before,
        }
    }

    /// Adds a packet.
    pub fn add(&mut self, event: &Event) {
        let alike = Alike::of(event);
        let room = self.sums.len() < APART;
        match self.sums.get_mut(&alike) {
            Some(sum) => sum.add(event),
            None if room => self.sums.entry(alike).or_default().add(event),
            None => self.other.add(event),
        }
    }

    /// How long the interval has lasted.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.began.1.elapsed()
    }

    /// Ends the interval, and says what there is to say of it. `now` is what the kernel has counted
    /// so far.
    pub fn take(&mut self, now: EventStats) -> Vec<PacketsRecord> {
        let ended = std::mem::replace(self, Self::new(now));
        let missed = now.sampled.saturating_sub(ended.before.sampled)
            + now.lost.saturating_sub(ended.before.lost);
        let blank = PacketsRecord {
            time: rfc3339(ended.began.0),
            interval_ms: u64::try_from(ended.began.1.elapsed().as_millis()).unwrap_or(u64::MAX),
            client: None,
            destination: None,
            port: None,
            protocol: None,
            direction: None,
            verdict: "refused",
            reason: None,
            packets: 0,
            bytes: 0,
            other: false,
            sampled: missed > 0,
            missed,
        };
        let mut sums: Vec<_> = ended.sums.into_iter().collect();
        sums.sort_by_key(|(alike, sum)| {
            (
                std::cmp::Reverse(sum.packets),
                alike.client,
                alike.destination,
                alike.port,
            )
        });
        let mut records: Vec<_> = sums
            .into_iter()
            .map(|(alike, sum)| PacketsRecord {
                client: Some(alike.client),
                destination: Some(alike.destination),
                port: alike.port,
                protocol: Some(alike.protocol),
                direction: Some(if alike.hook == Hook::LanEgress as u8 {
                    "in"
                } else {
                    "out"
                }),
                verdict: Verdict::from_bits(alike.verdict).name(),
                reason: Reason::from_code(alike.reason).map(Reason::name),
                packets: sum.packets,
                bytes: sum.bytes,
                ..blank.clone()
            })
            .collect();
        // What was missed is told even where nothing else is.
        if ended.other.packets > 0 || (records.is_empty() && missed > 0) {
            records.push(PacketsRecord {
                packets: ended.other.packets,
                bytes: ended.other.bytes,
                other: true,
                ..blank
            });
        }
        records
    }
}

impl Alike {
    fn of(event: &Event) -> Self {
        let (from, to) = (ip(event.src), ip(event.dst));
        let (client, destination) = if event.hook == Hook::LanEgress as u8 {
            (to, from)
        } else {
            (from, to)
        };
        let has_ports = matches!(event.protocol, 6 | 17 | 33 | 132 | 136);
        Self {
            client,
            destination,
            port: has_ports.then(|| u16::from_be(event.dport)),
            protocol: event.protocol,
            hook: event.hook,
            verdict: event.verdict,
            reason: event.reason,
        }
    }
}

fn ip(address: Addr) -> IpAddr {
    let mut bytes = [0; 16];
    for (out, word) in bytes.chunks_exact_mut(4).zip(address.0) {
        out.copy_from_slice(&word.to_ne_bytes());
    }
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// Reads what the programs tell of refused packets until the daemon drains, logs it where that is
/// asked for, and puts its sums into the access log. From then on a successor reads it.
pub(super) async fn tell(
    steering: Steering,
    shared: Arc<Shared>,
    mut phases: watch::Receiver<Phase>,
) {
    let told: Result<(), Box<dyn std::error::Error>> = async {
        let mut reader = steering.events()?;
        let mut events = Vec::new();
        let counted = || {
            steering
                .counters()
                .map_or_else(|_| EventStats::default(), |counters| counters.events)
        };
        let mut refused: Option<Refused> = None;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                read = reader.read(&mut events) => {
                    read?;
                    for event in events.drain(..) {
                        trace(&event);
                        if let Some(refused) = &mut refused {
                            refused.add(&event);
                        }
                    }
                }
                _ = look.tick() => {
                    let Some(every) = shared.access.packets() else {
                        refused = None;
                        continue;
                    };
                    let refused = refused.get_or_insert_with(|| Refused::new(counted()));
                    if refused.lasted() >= every {
                        put(&shared, refused.take(counted()));
                    }
                }
                // Whatever comes next, be it that nobody is left to say so.
                _ = phases.changed() => {
                    if let Some(mut refused) = refused {
                        put(&shared, refused.take(counted()));
                    }
                    return Ok(());
                }
            }
        }
    }
    .await;
    if let Err(error) = told {
        tracing::warn!(%error, "cannot tell which packets the kernel refuses");
    }
}

fn put(shared: &Shared, records: Vec<PacketsRecord>) {
    for record in records {
        shared.access.put_packets(&record);
    }
}

fn trace(event: &Event) {
    tracing::debug!(
        target: "kernel",
        source = ?event.src,
        source_port = u16::from_be(event.sport),
        destination = ?event.dst,
        destination_port = u16::from_be(event.dport),
        protocol = event.protocol,
        verdict = Verdict::from_bits(event.verdict).name(),
        reason = Reason::from_code(event.reason).map(Reason::name),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(client: [u8; 4], port: u16) -> Event {
        Event {
            length: 60,
            src: IpAddr::from(client).into(),
            dst: IpAddr::from([203, 0, 113, 1]).into(),
            sport: 4711_u16.to_be(),
            dport: port.to_be(),
            protocol: 6,
            hook: Hook::LanIngress as u8,
            verdict: Verdict::Reject as u8,
            reason: Reason::NativeTcp.code(),
            ..Event::default()
        }
    }

    const NOTHING: EventStats = EventStats {
        sent: 0,
        sampled: 0,
        lost: 0,
    };

    #[test]
    fn what_is_alike_is_told_once() {
        let mut refused = Refused::new(NOTHING);
        for _ in 0..3 {
            refused.add(&event([10, 0, 0, 1], 33_033));
        }
        refused.add(&Event {
            hook: Hook::LanEgress as u8,
            src: "2001:db8::9".parse::<IpAddr>().unwrap().into(),
            dst: "2001:db8:1::1".parse::<IpAddr>().unwrap().into(),
            protocol: 58,
            ..event([10, 0, 0, 1], 1)
        });
        let records = refused.take(NOTHING);
        assert_eq!(records.len(), 2);
        let [scan, inbound] = records.as_slice() else {
            panic!("{records:?}");
        };
        assert_eq!(scan.client, Some([10, 0, 0, 1].into()));
        assert_eq!(scan.destination, Some([203, 0, 113, 1].into()));
        assert_eq!((scan.port, scan.protocol), (Some(33_033), Some(6)));
        assert_eq!((scan.packets, scan.bytes), (3, 180));
        assert_eq!((scan.verdict, scan.reason), ("reject", Some("native-tcp")));
        assert_eq!((scan.direction, scan.sampled), (Some("out"), false));
        assert_eq!(inbound.client, "2001:db8:1::1".parse().ok());
        assert_eq!(inbound.destination, "2001:db8::9".parse().ok());
        assert_eq!((inbound.port, inbound.direction), (None, Some("in")));
        assert!(refused.take(NOTHING).is_empty());
    }

    #[test]
    fn a_scan_has_an_end_and_says_what_it_left_out() {
        let mut refused = Refused::new(EventStats {
            sampled: 100,
            lost: 5,
            ..NOTHING
        });
        for port in 0..5000 {
            refused.add(&event([10, 0, 0, 1], port));
        }
        let records = refused.take(EventStats {
            sent: 5000,
            sampled: 107,
            lost: 6,
        });
        assert_eq!(records.len(), APART + 1);
        let other = records.last().unwrap();
        assert!(other.other);
        assert_eq!(other.packets, 5000 - APART as u64);
        assert_eq!((other.client, other.reason), (None, None));
        assert!(
            records
                .iter()
                .all(|record| record.sampled && record.missed == 8)
        );
        assert_eq!(records.iter().map(|one| one.packets).sum::<u64>(), 5000);
    }

    #[test]
    fn packets_that_nothing_is_known_of_are_told_too() {
        let mut refused = Refused::new(NOTHING);
        let records = refused.take(EventStats { lost: 3, ..NOTHING });
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].other, records[0].missed), (true, 3));
    }
}
