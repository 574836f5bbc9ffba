//! A classifier that does nothing, which no compiler is needed for.
#![expect(
    unsafe_code,
    reason = "bpf(2) has no safe wrapper that loads two instructions"
)]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

const LICENSE: &CStr = c"MIT";

/// `r0 = TCX_NEXT; exit`, as linux/bpf.h and the instruction set (RFC 9669) spell it.
const INSTRUCTIONS: [u64; 2] = [
    u64::from_le_bytes([0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    u64::from_le_bytes([0x95, 0, 0, 0, 0, 0, 0, 0]),
];

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;

/// The part of `union bpf_attr` that loading reads; the kernel takes what is left out as zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The part of `union bpf_attr` that a test run reads and writes.
#[repr(C)]
struct TestAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// The empty program, loaded and attached to nothing.
#[derive(Debug)]
pub struct Empty {
    program: OwnedFd,
}

impl Empty {
    /// Loads it.
    ///
    /// # Errors
    ///
    /// Not root, or a kernel without classifiers in BPF.
    pub fn load() -> io::Result<Self> {
        let mut attr = LoadAttr {
            prog_type: BPF_PROG_TYPE_SCHED_CLS,
            insn_cnt: 2,
            insns: INSTRUCTIONS.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
        };
        let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { program })
    }

    /// Runs it over a frame; the time of one run, averaged.
    ///
    /// # Errors
    ///
    /// The kernel refused the frame.
    pub fn run(&self, frame: &[u8], repeat: u32) -> io::Result<Duration> {
        let mut attr = TestAttr {
            prog_fd: self.program.as_raw_fd().unsigned_abs(),
            retval: 0,
            data_size_in: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data_size_out: 0,
            data_in: frame.as_ptr() as u64,
            data_out: 0,
            repeat,
            duration: 0,
        };
        bpf(BPF_PROG_TEST_RUN, &mut attr)?;
        Ok(Duration::from_nanos(attr.duration.into()))
    }
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` of the size given, alive and ours for the
    // whole call; the pointers in it are to constants or to slices that the callers hold, with
    // their own lengths beside them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
