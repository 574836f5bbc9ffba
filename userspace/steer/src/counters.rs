//! What the programs count, added up over the CPUs.
//!
//! Each counter is asked for by a call of its own, some four hundred in all: aya 0.14 does not have
//! `BPF_MAP_LOOKUP_BATCH`, and the call itself would need `unsafe` that this crate does without.

use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Array, HashMap, MapData, PerCpuArray, SockMap};
use rustix::{
    net::sockopt::socket_acceptconn,
    time::{ClockId, clock_gettime},
};
use sluice_abi::{
    CounterCell, FlowEntry, FlowKey, Hook, Reason, Verdict,
    event::{EventStat, counter_index},
    map::{self, MapSpec},
};

use crate::{
    Error,
    maps::{MapSource, Wire, array, hash, per_cpu, sock_map},
};

/// One counter that is not zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counter {
    /// Where the packets were judged.
    pub hook: Hook,
    /// What was decided.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Packets; a segment that the device or GRO joined counts once.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
}

/// What became of the sampled events, since the maps were made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EventStats {
    /// Put into the ring.
    pub sent: u64,
    /// Left out by sampling.
    pub sampled: u64,
    /// Not carried because the ring was full.
    pub lost: u64,
}

/// Everything that the programs count.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Counters that are not zero, by hook, reason and verdict.
    pub packets: Vec<Counter>,
    /// Events.
    pub events: EventStats,
}

impl Counters {
    /// Packets of one counter.
    #[must_use]
    pub fn packets_of(&self, hook: Hook, verdict: Verdict, reason: Reason) -> u64 {
        let same = |counter: &&Counter| {
            counter.hook == hook && counter.verdict == verdict && counter.reason == reason
        };
        self.packets
            .iter()
            .find(same)
            .map_or(0, |counter| counter.packets)
    }
}

/// How full the flow tables are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowFill {
    /// Established flows, expired ones that nothing has removed yet among them.
    pub established: u64,
    /// Flows that nobody has answered.
    pub embryonic: u64,
}

pub(crate) struct CounterMaps {
    counters: PerCpuArray<MapData, Wire<CounterCell>>,
    events: PerCpuArray<MapData, u64>,
}

const VERDICTS: [Verdict; 4] = [
    Verdict::Pass,
    Verdict::Drop,
    Verdict::Reject,
    Verdict::Steer,
];

impl CounterMaps {
    pub(crate) fn open(source: impl MapSource) -> Result<Self, Error> {
        Ok(Self {
            counters: per_cpu(source.open_map(map::COUNTERS)?, map::COUNTERS)?,
            events: per_cpu(source.open_map(map::EVENT_STATS)?, map::EVENT_STATS)?,
        })
    }

    pub(crate) fn read(&self) -> Result<Counters, Error> {
        let mut packets = Vec::new();
        for hook in Hook::ALL {
            for reason in Reason::ALL
                .iter()
                .copied()
                .filter(|reason| reason.is_kernel())
            {
                for verdict in VERDICTS {
                    let index = counter_index(hook as u8, verdict as u8, reason.code());
                    let sum = self.sum(index)?;
                    if sum.packets != 0 {
                        let CounterCell {
                            packets: count,
                            bytes,
                        } = sum;
                        packets.push(Counter {
                            hook,
                            verdict,
                            reason,
                            packets: count,
                            bytes,
                        });
                    }
                }
            }
        }
        Ok(Counters {
            packets,
            events: EventStats {
                sent: self.event_stat(EventStat::Sent)?,
                sampled: self.event_stat(EventStat::Sampled)?,
                lost: self.event_stat(EventStat::Lost)?,
            },
        })
    }

    fn sum(&self, index: u32) -> Result<CounterCell, Error> {
        let cells = self
            .counters
            .get(&index, 0)
            .map_err(Error::map(map::COUNTERS.name))?;
        Ok(cells
            .iter()
            .fold(CounterCell::default(), |sum, Wire(cell)| CounterCell {
                packets: sum.packets.wrapping_add(cell.packets),
                bytes: sum.bytes.wrapping_add(cell.bytes),
            }))
    }

    fn event_stat(&self, row: EventStat) -> Result<u64, Error> {
        let cells = self
            .events
            .get(&(row as u32), 0)
            .map_err(Error::map(map::EVENT_STATS.name))?;
        Ok(cells.iter().fold(0, |sum, count| sum.wrapping_add(*count)))
    }
}

/// Counts the entries of both flow tables, by walking them: milliseconds for each ten thousand.
pub(crate) fn flow_fill(source: impl MapSource) -> Result<FlowFill, Error> {
    let count = |spec: MapSpec| -> Result<u64, Error> {
        let map: HashMap<_, Wire<FlowKey>, Wire<FlowEntry>> = hash(source.open_map(spec)?, spec)?;
        let mut entries = 0;
        // A table that changes under the walk may make it begin anew; its size bounds it.
        for key in map.keys().take(spec.max_entries as usize) {
            key.map_err(Error::map(spec.name))?;
            entries += 1;
        }
        Ok(entries)
    };
    Ok(FlowFill {
        established: count(map::FLOWS)?,
        embryonic: count(map::EMBRYONIC)?,
    })
}

/// The cell that tells the programs whether the daemon lives.
pub(crate) struct Heartbeat(Array<MapData, u64>);

impl Heartbeat {
    pub(crate) fn open(source: impl MapSource) -> Result<Self, Error> {
        array(source.open_map(map::HEARTBEAT)?, map::HEARTBEAT).map(Self)
    }

    pub(crate) fn beat(&mut self) -> Result<(), Error> {
        self.set(monotonic_ns())
    }

    pub(crate) fn set(&mut self, time: u64) -> Result<(), Error> {
        self.0
            .set(0, time, 0)
            .map_err(Error::map(map::HEARTBEAT.name))
    }

    pub(crate) fn read(&self) -> Result<u64, Error> {
        self.0.get(&0, 0).map_err(Error::map(map::HEARTBEAT.name))
    }
}

/// The clock that the programs read: `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec
        .cast_unsigned()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec.cast_unsigned())
}

/// The sockets that steered flows are handed to.
pub(crate) struct Listeners(SockMap<MapData>);

impl Listeners {
    pub(crate) fn open(source: impl MapSource) -> Result<Self, Error> {
        sock_map(source.open_map(map::LISTENERS)?, map::LISTENERS).map(Self)
    }

    pub(crate) fn set(&mut self, index: u32, socket: &impl AsFd) -> Result<(), Error> {
        // The kernel takes other sockets too, and then every steered flow would be lost.
        if !socket_acceptconn(socket).is_ok_and(|listens| listens) {
            return Err(Error::NotListening);
        }
        let fd = socket.as_fd().as_raw_fd();
        self.0
            .set(index, &fd, 0)
            .map_err(Error::map(map::LISTENERS.name))
    }
}
