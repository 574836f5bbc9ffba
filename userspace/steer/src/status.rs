//! What is loaded, read from the pins alone: works beside a daemon and without one.

use std::path::Path;

use aya::programs::{
    SchedClassifier,
    links::{FdLink, PinnedLink},
};
use sluice_abi::{Hook, PolicyCell};

use crate::{
    Counters, Error, FlowFill, PinDir,
    attach::attach_type,
    counters::{CounterMaps, Heartbeat, flow_fill, monotonic_ns},
    generation::PolicyMaps,
};

/// What is loaded.
#[derive(Clone, Debug)]
pub struct Status {
    /// Version of the layout of the maps.
    pub abi: u32,
    /// Number of the current policy; 0: none, everything is dropped.
    pub generation: u32,
    /// Age of the daemon's latest sign of life in nanoseconds; `None`: there was none since the
    /// gate was closed.
    pub heartbeat_age_ns: Option<u64>,
    /// Age after which the daemon counts as gone.
    pub heartbeat_limit_ns: u64,
    /// Steered flows are forwarded, not refused, while the daemon is gone.
    pub fail_open: bool,
    /// The devices.
    pub devices: Vec<DeviceStatus>,
    /// How full the flow tables are.
    pub flows: FlowFill,
    /// What the programs counted.
    pub counters: Counters,
}

impl Status {
    /// Whether the programs take the daemon for alive.
    #[must_use]
    pub fn is_daemon_alive(&self) -> bool {
        self.heartbeat_age_ns
            .is_some_and(|age| age <= self.heartbeat_limit_ns)
    }
}

/// One LAN device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceStatus {
    /// Name of the device.
    pub name: String,
    /// Packets from it are judged.
    pub ingress: bool,
    /// Packets to it are judged.
    pub egress: bool,
}

/// Reads what is loaded below `bpffs_dir`.
///
/// # Errors
///
/// [`Error::NotLoaded`], [`Error::IncompatiblePin`] where another version made the maps, or the
/// kernel refused to read.
pub fn status(bpffs_dir: &Path) -> Result<Status, Error> {
    let pins = PinDir::new(bpffs_dir);
    let Some(abi) = pins.abi_version()? else {
        return Err(Error::NotLoaded(bpffs_dir.to_owned()));
    };
    pins.check()?;
    let (_, cell) = PolicyMaps::open(&pins)?.current()?;
    let heartbeat = Heartbeat::open(&pins)?.read()?;
    Ok(Status {
        abi,
        generation: cell.generation,
        heartbeat_age_ns: (heartbeat != 0).then(|| monotonic_ns().saturating_sub(heartbeat)),
        heartbeat_limit_ns: cell.heartbeat_ns,
        fail_open: cell.flags & PolicyCell::FLAG_FAIL_OPEN != 0,
        devices: devices(&pins)?,
        flows: flow_fill(&pins)?,
        counters: CounterMaps::open(&pins)?.read()?,
    })
}

fn devices(pins: &PinDir) -> Result<Vec<DeviceStatus>, Error> {
    let mut names: Vec<String> = pins
        .pinned_links()?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names.dedup();
    let device = |name: String| DeviceStatus {
        ingress: is_judged(pins, &name, Hook::LanIngress),
        egress: is_judged(pins, &name, Hook::LanEgress),
        name,
    };
    Ok(names.into_iter().map(device).collect())
}

/// Whether the program that the pinned link holds runs on the device of that name.
fn is_judged(pins: &PinDir, device: &str, hook: Hook) -> bool {
    let Ok(link) = PinnedLink::from_pin(pins.link(device, hook)) else {
        return false;
    };
    let Ok(link) = FdLink::from(link).info() else {
        return false;
    };
    SchedClassifier::query_tcx(device, attach_type(hook))
        .is_ok_and(|(_, programs)| programs.iter().any(|info| info.id() == link.program_id()))
}
