//! From the configuration to the kernel side, for every command that touches it.

use std::{future::Future, path::Path};

use anyhow::Context;
use sluice_policy::kernel::KernelError;
use sluice_steer::{
    KernelLog, LanPatterns, Routing, StartOptions, UnloadOptions, doctor::DoctorOptions,
};

use crate::config::{self, Config};

/// The configuration that a command was given, or else the documented defaults.
///
/// # Errors
///
/// The file cannot be read, or has mistakes.
pub fn config_or_default(file: Option<&Path>) -> anyhow::Result<Config> {
    Ok(match file {
        Some(file) => Config::load(file)?,
        None => Config::parse(config::DEFAULT, "the built-in defaults")?,
    })
}

/// What the kernel side is set up with.
///
/// # Errors
///
/// The egress section does not fit the kernel's maps.
pub fn start_options(config: &Config) -> Result<StartOptions, KernelError> {
    Ok(StartOptions {
        bpffs_dir: config.gateway.bpffs_dir.clone(),
        state_dir: config.gateway.state_dir.clone(),
        lan: lan(config),
        routing: routing(config),
        // The number is given anew when the policy is written: the kernel may hold one already.
        policy: config.kernel_policy(1)?,
        log: KernelLog::Off,
    })
}

/// What opening the gate removes.
#[must_use]
pub fn unload_options(config: &Config) -> UnloadOptions {
    UnloadOptions {
        bpffs_dir: config.gateway.bpffs_dir.clone(),
        state_dir: config.gateway.state_dir.clone(),
        table: config.gateway.table,
        force: false,
    }
}

/// What the machine is examined for.
#[must_use]
pub fn doctor_options(config: &Config) -> DoctorOptions {
    let ports = &config.steer.ports;
    DoctorOptions {
        bpffs_dir: config.gateway.bpffs_dir.clone(),
        lan: lan(config),
        routing: routing(config),
        steered_ports: ports
            .tls
            .iter()
            .chain(&ports.http)
            .map(|range| range.first())
            .collect(),
        flow_limit: config.gateway.flow_limit as u64,
        kernel_flow_limit: config.egress.flow_limit.into(),
    }
}

fn lan(config: &Config) -> LanPatterns {
    LanPatterns::new(config.gateway.lan.iter().map(ToString::to_string))
}

fn routing(config: &Config) -> Routing {
    Routing {
        marks: config.gateway.marks,
        table: config.gateway.table,
    }
}

/// Runs a command's future to its end, on a runtime of its own in this thread.
///
/// # Errors
///
/// The runtime cannot be made.
pub fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(work))
}
