//! What is to be watched of the kernel side beside its counters: how full it is, and whether it takes
//! the daemon for alive.

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use sluice_abi::{
    PolicyCell,
    flow::{Addr, Bucket, FlowEntry, FlowKey, FragmentEntry, FragmentKey},
    map::{self, MapSpec},
};

use crate::{
    Error,
    maps::{MapSource, Wire, hash},
};

/// How full a map is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapFill {
    /// Its name.
    pub name: &'static str,
    /// Entries, expired ones that nothing has removed yet among them.
    pub entries: u64,
    /// Entries that it can hold.
    pub max_entries: u64,
    /// Whether a full map makes room by forgetting what was used least lately, so that being full
    /// is no fault.
    pub evicts: bool,
}

/// How the programs see the daemon and its policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vitals {
    /// Number of the policy in force.
    pub generation: u32,
    /// Age of the daemon's latest sign of life in nanoseconds; `None`: there was none.
    pub heartbeat_age_ns: Option<u64>,
    /// Age after which the daemon counts as gone.
    pub heartbeat_limit_ns: u64,
    /// Established flows that the policy allows.
    pub flow_limit: u32,
    /// Steered flows are forwarded, not refused, while the daemon is gone.
    pub fail_open: bool,
    /// Devices that have the programs.
    pub devices: usize,
}

impl Vitals {
    pub(crate) fn new(cell: &PolicyCell, heartbeat: u64, now: u64, devices: usize) -> Self {
        Self {
            generation: cell.generation,
            heartbeat_age_ns: (heartbeat != 0).then(|| now.saturating_sub(heartbeat)),
            heartbeat_limit_ns: cell.heartbeat_ns,
            flow_limit: cell.flow_limit,
            fail_open: cell.flags & PolicyCell::FLAG_FAIL_OPEN != 0,
            devices,
        }
    }
}

/// Type of maps that forget what was used least lately (`BPF_MAP_TYPE_LRU_HASH`).
const LRU_HASH: u32 = 9;

/// Counts the entries of every map whose fill changes with the traffic, by walking them:
/// milliseconds for each ten thousand. Programs that change the maps meanwhile do not wait.
pub(crate) fn map_fill(source: impl MapSource) -> Result<Vec<MapFill>, Error> {
    Ok(vec![
        fill::<Wire<FlowKey>, Wire<FlowEntry>>(source, map::FLOWS)?,
        fill::<Wire<FlowKey>, Wire<FlowEntry>>(source, map::EMBRYONIC)?,
        fill::<Wire<Addr>, u32>(source, map::CLIENT_FLOWS)?,
        fill::<Wire<FragmentKey>, Wire<FragmentEntry>>(source, map::FRAGMENTS)?,
        fill::<Wire<Addr>, Wire<Bucket>>(source, map::ICMP_BUCKETS)?,
        fill::<Wire<Addr>, Wire<Bucket>>(source, map::REJECT_BUCKETS)?,
        fill::<Wire<Addr>, u32>(source, map::GATEWAY)?,
    ])
}

fn fill<K: Pod, V: Pod>(source: impl MapSource, spec: MapSpec) -> Result<MapFill, Error> {
    let map: HashMap<MapData, K, V> = hash(source.open_map(spec)?, spec)?;
    let mut entries = 0;
    // A table that changes under the walk may make it begin anew; its size bounds it.
    for key in map.keys().take(spec.max_entries as usize) {
        key.map_err(Error::map(spec.name))?;
        entries += 1;
    }
    Ok(MapFill {
        name: spec.name,
        entries,
        max_entries: u64::from(spec.max_entries),
        evicts: spec.map_type == LRU_HASH,
    })
}
