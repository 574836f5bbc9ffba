//! The kernel side, seen from the daemon: probe, load, attach, pin, fill, route, observe, remove.
//!
//! This is the only crate that knows aya and netlink. [`Steering`] is the kernel side in force:
//! [`Steering::start`] closes the gate for a daemon, [`Steering::load_only`] closes it without one,
//! [`unload()`] alone opens it. Whatever this process does, or however it ends, programs, maps,
//! routes and rules stay: everything that keeps the gate closed is pinned or belongs to the kernel.
//!
//! Data flows one way: a [`KernelPolicy`](sluice_policy::kernel::KernelPolicy) is written into the idle half of the pinned maps and
//! becomes current by one store; [`Counters`] and [`EventReader`] read what the programs report.
//! [`TestBench`] runs the very same programs over frames, attached to nothing.

mod attach;
mod bench;
mod counters;
mod device;
pub mod doctor;
mod error;
mod events;
mod gateway;
mod generation;
mod kernel_log;
mod load;
mod lock;
mod maps;
mod netlink;
mod object;
mod pin;
pub mod probe;
mod route;
mod status;
mod steering;
mod unload;
mod vitals;

pub use bench::{RawRun, TestBench};
pub use counters::{Counter, Counters, EventStats, FlowFill, monotonic_ns};
pub use device::{Device, LanPatterns, LinkType};
pub use error::Error;
pub use events::EventReader;
pub use gateway::AddressKind;
pub use kernel_log::KernelLog;
pub use lock::StateLock;
pub use object::object;
pub use pin::PinDir;
pub use route::{PRIORITY as RULE_PRIORITY, PROTOCOL as ROUTE_PROTOCOL, Routing, Rule};
pub use status::{DeviceStatus, Status, status};
pub use steering::{Attached, StartOptions, Steering};
pub use unload::{UnloadOptions, Unloaded, unload};
pub use vitals::{MapFill, Vitals};
