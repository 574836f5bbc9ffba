//! The standard metrics of a process, by the names that every Prometheus client gives them.

use std::time::SystemTime;

use procfs::process::{LimitValue, Process};
use procfs::{CurrentSI as _, KernelStats, ProcResult};

use super::page::Page;
use super::table::Id;

/// Adds what can be read; where `/proc` is not to be had, nothing.
pub(super) fn collect(page: &mut Page) {
    // Each alone: a process that others must not look into may not list its own descriptors.
    let Ok(process) = Process::myself() else {
        return;
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        page.measure(Id::ProcessCpu, [], (stat.utime + stat.stime) as f64 / ticks);
        page.count(Id::ProcessResident, [], stat.rss * procfs::page_size());
        page.count(Id::ProcessVirtual, [], stat.vsize);
        let threads = u64::try_from(stat.num_threads).unwrap_or_default();
        page.count(Id::ProcessThreads, [], threads);
        if let Ok(booted) = booted() {
            let started = booted as f64 + stat.starttime as f64 / ticks;
            page.measure(Id::ProcessStart, [], started);
        }
    }
    if let Ok(fds) = process.fd_count() {
        page.count(Id::ProcessFds, [], fds as u64);
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        page.count(Id::ProcessFdLimit, [], most);
    }
}

fn booted() -> ProcResult<u64> {
    Ok(KernelStats::current()?.btime)
}

/// Now, in seconds since 1970.
pub(super) fn now() -> i64 {
    crate::daemon::flow::unix_seconds(SystemTime::now())
}
