//! Keeps other processes, core files and the swap away from the key.

use std::io;

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{CapabilitySet, capabilities},
};

/// What [`harden_process`] reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hardened {
    /// Whether no memory of the process is ever written to swap.
    pub memory_locked: bool,
}

/// Makes the memory of this process unreadable to other processes of its user and leaves no core
/// file behind: `PR_SET_DUMPABLE` 0, which also takes `/proc/PID/mem` and ptrace from everybody
/// but root, and `RLIMIT_CORE` 0. To be called before a key is read, and again after a change of
/// user, which the kernel lets undo the former (proc_pid_mem(5), PR_SET_DUMPABLE(2const)).
///
/// The memory is locked where that cannot do harm. The key lies in the heap of the cryptography, of
/// which nobody can name the pages, so it is all of the memory or none; and without CAP_IPC_LOCK or
/// an unlimited `RLIMIT_MEMLOCK`, a process that locked what it will ever map fails to allocate when
/// it has reached the limit. Then nothing is locked, which [`Hardened`] tells: encrypted swap, or
/// none, does the same.
///
/// # Errors
///
/// The kernel refuses what needs no right, as a filter of system calls would.
pub fn harden_process() -> io::Result<Hardened> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Some(0);
    setrlimit(
        Resource::Core,
        Rlimit {
            current: none,
            maximum: none,
        },
    )?;
    let may_lock = capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
        || getrlimit(Resource::Memlock).current.is_none();
    // On fault: of a thread's stack only what is used counts.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    Ok(Hardened {
        memory_locked: may_lock && mlockall(flags).is_ok(),
    })
}
