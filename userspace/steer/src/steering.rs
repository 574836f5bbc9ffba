//! The kernel side in force.

use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use sluice_abi::map;
use sluice_policy::kernel::KernelPolicy;

use crate::{
    Counters, Device, Error, EventReader, FlowFill, KernelLog, LanPatterns, LinkType, MapFill,
    PinDir, Routing, StateLock, Vitals,
    attach::{Attachment, attach},
    counters::{CounterMaps, Heartbeat, Listeners, flow_fill, monotonic_ns},
    gateway::GatewayMap,
    generation::PolicyMaps,
    load::Loader,
    netlink::{Changes, Netlink},
    pin::side,
    probe::Probe,
    route,
    vitals::map_fill,
};

/// What the kernel side is set up with.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Where everything is pinned, on a BPF filesystem; one directory for each sluice.
    pub bpffs_dir: PathBuf,
    /// Where the lock is, and nothing else of this crate.
    pub state_dir: PathBuf,
    /// The devices behind which the clients are.
    pub lan: LanPatterns,
    /// Marks and routing table.
    pub routing: Routing,
    /// The policy that holds from the first packet on.
    pub policy: KernelPolicy,
    /// Whether the programs tell of every packet that they refuse.
    pub log: KernelLog,
}

/// A LAN device that has the programs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attached {
    /// Name of the device.
    pub device: String,
    /// Its index.
    pub index: u32,
    /// What its frames begin with.
    pub link_type: LinkType,
}

/// The kernel side in force; clones are handles to the same one.
///
/// Dropping it changes nothing in the kernel but the lock. Every method may be called from any
/// thread; none but [`watch`](Self::watch) waits for anything but the kernel's answer.
#[derive(Clone)]
pub struct Steering(Arc<Inner>);

struct Inner {
    pins: PinDir,
    lan: LanPatterns,
    routing: Routing,
    // `None` once a successor may own the kernel side.
    lock: Mutex<Option<StateLock>>,
    loader: Mutex<Loader>,
    policy: Mutex<PolicyMaps>,
    gateway: Mutex<GatewayMap>,
    listeners: Mutex<Listeners>,
    heartbeat: Mutex<Heartbeat>,
    counters: CounterMaps,
    attached: Mutex<BTreeMap<String, Attached>>,
}

/// A panic while a lock was held leaves nothing half done that the next use would not redo.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Steering {
    /// Events that follow each other within this time are looked at together.
    const SETTLE: Duration = Duration::from_millis(20);
    /// A change that no event told of (a link that somebody detached, a flushed rule) is put right
    /// within this time.
    const RESYNC: Duration = Duration::from_secs(5);

    /// Closes the gate for a daemon: adopts or makes everything, writes the policy, attaches.
    ///
    /// The order leaves no packet judged by half of it: addresses and policy are in the maps
    /// before a program is attached, and a program that is attached already sees the new policy by
    /// one store. Steered flows follow `on_failure` until [`set_listeners`](Self::set_listeners)
    /// and [`heartbeat`](Self::heartbeat).
    ///
    /// Acts in the network namespace of the calling thread and needs a tokio runtime with IO and
    /// time.
    ///
    /// # Errors
    ///
    /// The machine cannot run sluice ([`Error::Refused`]), another process owns the kernel side
    /// ([`Error::Busy`]), what is pinned does not fit ([`Error::IncompatiblePin`]), or the kernel
    /// refused a step. What was in force before stays in force.
    pub async fn start(options: &StartOptions) -> Result<Self, Error> {
        Probe::collect(&options.bpffs_dir).check()?;
        let lock = StateLock::take(&options.state_dir)?;
        let pins = PinDir::new(&options.bpffs_dir);
        let loader = Loader::new(pins.clone(), options.log)?;
        let steering = Self(Arc::new(Inner {
            lan: options.lan.clone(),
            routing: options.routing,
            lock: Mutex::new(Some(lock)),
            loader: Mutex::new(loader),
            policy: Mutex::new(PolicyMaps::open(&pins)?),
            gateway: Mutex::new(GatewayMap::open(&pins)?),
            listeners: Mutex::new(Listeners::open(&pins)?),
            heartbeat: Mutex::new(Heartbeat::open(&pins)?),
            counters: CounterMaps::open(&pins)?,
            attached: Mutex::new(BTreeMap::new()),
            pins,
        }));
        let netlink = Netlink::connect()?;
        steering.sync_addresses(&netlink).await?;
        steering.publish(&options.policy)?;
        route::ensure(&netlink, options.routing).await?;
        if !steering.sync_devices(&netlink).await?.is_empty() {
            // A device that goes while it is attached fails once; any other keeps failing.
            if let Some(failure) = steering.sync_devices(&netlink).await?.into_iter().next() {
                return Err(failure);
            }
        }
        Ok(steering)
    }

    /// Closes the gate without a daemon.
    ///
    /// The heartbeat is cleared, so that steered flows follow `on_failure` at once.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start); [`Error::Busy`] means that a daemon runs and has closed
    /// the gate itself.
    pub async fn load_only(options: &StartOptions) -> Result<Vec<Attached>, Error> {
        let steering = Self::start(options).await?;
        locked(&steering.0.heartbeat).set(0)?;
        Ok(steering.attached())
    }

    /// Makes a policy current, and returns the number that it got.
    ///
    /// Takes some tens of milliseconds, and about a second for a hundred thousand prefixes: not for
    /// a thread that must answer meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::PolicyTooLarge`], or the kernel refused a write; the policy before stays current.
    pub fn publish(&self, policy: &KernelPolicy) -> Result<u32, Error> {
        self.owned()?;
        locked(&self.0.policy).publish(policy)
    }

    /// Number of the current policy.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the map.
    pub fn generation(&self) -> Result<u32, Error> {
        Ok(locked(&self.0.policy).current()?.1.generation)
    }

    /// Hands steered flows to these listening sockets (of a reuseport group, any of it), in place
    /// of those before. A socket leaves by itself when it is closed.
    ///
    /// # Errors
    ///
    /// [`Error::NotListening`], [`Error::Released`], or the kernel refused the socket.
    pub fn set_listeners(&self, v4: &impl AsFd, v6: Option<&impl AsFd>) -> Result<(), Error> {
        self.owned()?;
        let mut listeners = locked(&self.0.listeners);
        listeners.set(0, v4)?;
        v6.map_or(Ok(()), |v6| listeners.set(1, v6))
    }

    /// Tells the programs that the daemon lives; to be called once a second.
    ///
    /// # Errors
    ///
    /// [`Error::Released`], or the kernel refused to write.
    pub fn heartbeat(&self) -> Result<(), Error> {
        self.owned()?;
        locked(&self.0.heartbeat).beat()
    }

    /// What the programs counted since the maps were made.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the maps.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.0.counters.read()
    }

    /// How full the flow tables are; walks them, so only on demand.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the maps.
    pub fn flow_fill(&self) -> Result<FlowFill, Error> {
        flow_fill(&self.0.pins)
    }

    /// How full the maps are whose fill changes with the traffic; walks them, so only now and then.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the maps.
    pub fn map_fill(&self) -> Result<Vec<MapFill>, Error> {
        map_fill(&self.0.pins)
    }

    /// How the programs see the daemon and its policy. Waits for a policy that is being published.
    ///
    /// # Errors
    ///
    /// The kernel refused to read the maps.
    pub fn vitals(&self) -> Result<Vitals, Error> {
        let (_, cell) = locked(&self.0.policy).current()?;
        let heartbeat = locked(&self.0.heartbeat).read()?;
        let devices = locked(&self.0.attached).len();
        Ok(Vitals::new(&cell, heartbeat, monotonic_ns(), devices))
    }

    /// The reader of sampled verdicts; there must be one at a time, on all handles and processes.
    ///
    /// # Errors
    ///
    /// The ring cannot be opened.
    pub fn events(&self) -> Result<EventReader, Error> {
        EventReader::open(&self.0.pins)
    }

    /// The devices that have the programs, by name.
    #[must_use]
    pub fn attached(&self) -> Vec<Attached> {
        locked(&self.0.attached).values().cloned().collect()
    }

    /// Gives the kernel side up to a successor, at the beginning of a drain: the lock is free, and
    /// every later write through any handle is refused. Nothing in the kernel changes.
    pub fn release(&self) {
        locked(&self.0.lock).take();
    }

    fn owned(&self) -> Result<(), Error> {
        if locked(&self.0.lock).is_none() {
            return Err(Error::Released);
        }
        Ok(())
    }

    /// Keeps devices, addresses, rules and routes as they should be, until the kernel side is
    /// released.
    ///
    /// A device that appears or is made anew is attached at its first event, and what no event
    /// tells of is found by looking every five seconds. What goes wrong is logged and tried again.
    /// Acts in the network namespace of the thread that polls it first, and may hold that thread
    /// for some hundred milliseconds, when the first device without Ethernet appears.
    ///
    /// # Errors
    ///
    /// Netlink cannot be reached at all, or [`Error::NotLoaded`]: somebody removed the pins, with
    /// `sluice unload --force`. The kernel side is released then, and the daemon should end.
    pub async fn watch(&self) -> Result<(), Error> {
        let mut changes = Changes::listen()?;
        let netlink = Netlink::connect()?;
        let mut look = Instant::now();
        while self.owned().is_ok() {
            match timeout_at(look, changes.next()).await {
                Ok(Some(())) => sleep(Self::SETTLE).await,
                Ok(None) => {
                    sleep(Self::RESYNC).await;
                    changes = Changes::listen()?;
                }
                Err(_) => {}
            }
            if self.owned().is_err() {
                break;
            }
            if !self.0.pins.map(map::ACTIVE.name).exists() {
                // A resync that ran while the gate was being opened may have put the rule back
                // after it had been removed, and the pins not yet.
                let removed = route::remove(&netlink, self.0.routing.table).await;
                self.release();
                removed?;
                return Err(Error::NotLoaded(self.0.pins.path().to_owned()));
            }
            if let Err(error) = self.resync(&netlink).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot look after devices"
                );
            }
            if self.0.pins.map(map::ACTIVE.name).exists() {
                look = Instant::now() + Self::RESYNC;
            }
        }
        Ok(())
    }

    async fn resync(&self, netlink: &Netlink) -> Result<(), Error> {
        // Addresses first: what a new device's address means must be known before its packets
        // are judged.
        self.sync_addresses(netlink).await?;
        for failure in self.sync_devices(netlink).await? {
            tracing::warn!(
                error = &failure as &dyn std::error::Error,
                "device without programs"
            );
        }
        route::ensure(netlink, self.0.routing).await
    }

    async fn sync_addresses(&self, netlink: &Netlink) -> Result<(), Error> {
        let addresses = netlink.addresses().await?;
        if locked(&self.0.gateway).replace(addresses)? {
            tracing::debug!("the gateway's own addresses changed");
        }
        Ok(())
    }

    /// Attaches what should be attached, lets go what is gone, and returns what failed.
    async fn sync_devices(&self, netlink: &Netlink) -> Result<Vec<Error>, Error> {
        let mut devices = netlink.devices().await?;
        devices.retain(|device| self.0.lan.matches(&device.name));
        let mut failures = Vec::new();
        for device in &devices {
            if let Err(error) = self.attach_device(device) {
                locked(&self.0.attached).remove(&device.name);
                failures.push(error);
            }
        }
        self.forget_others(&devices)?;
        Ok(failures)
    }

    fn attach_device(&self, device: &Device) -> Result<(), Error> {
        let link_type = device.link_type().ok_or_else(|| Error::UnknownLinkType {
            device: device.name.clone(),
            arphrd: device.arphrd,
        })?;
        let mut loader = locked(&self.0.loader);
        for hook in sluice_abi::Hook::ALL {
            let how = attach(&mut loader, &self.0.pins, device, link_type, hook)?;
            if how != Attachment::Present {
                tracing::info!(device = device.name, hook = hook.name(), ?how, "attached");
            }
        }
        let (name, index) = (device.name.clone(), device.index);
        let attached = Attached {
            device: name.clone(),
            index,
            link_type,
        };
        locked(&self.0.attached).insert(name, attached);
        Ok(())
    }

    /// Removes the pins of devices that are gone, or are no LAN devices any more.
    fn forget_others(&self, devices: &[Device]) -> Result<(), Error> {
        let is_lan = |name: &str| devices.iter().any(|device| device.name == name);
        for (name, hook) in self.0.pins.pinned_links()? {
            if !is_lan(&name) {
                let path = self.0.pins.link(&name, hook);
                crate::unload::remove_file(&path)?;
                tracing::info!(device = name, side = side(hook), "no longer a LAN device");
            }
        }
        locked(&self.0.attached).retain(|name, _| is_lan(name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_may_be_used_from_every_thread() {
        fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<Steering>();
    }
}
