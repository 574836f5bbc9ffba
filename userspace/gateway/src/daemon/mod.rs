//! The daemon: judges and carries the flows that the kernel hands over.
//!
//! The main thread owns the kernel side, signals and reloads; [`worker`]s each have a thread and
//! serve flows from their arrival to their end ([`flow`]); [`admin`] answers questions on a thread
//! of its own. What they share is in [`worker::Shared`].

pub mod admin;
mod answer;
mod block;
pub mod export;
pub mod flow;
pub mod generation;
pub mod guard;
pub(crate) mod known;
pub(crate) mod leg;
pub mod limits;
pub mod log_level;
pub mod metrics;
pub mod packets;
mod peek;
mod proof;
pub(crate) mod reach;
pub mod record;
pub mod records;
pub mod reload;
mod run;
pub mod worker;

pub use run::run;
