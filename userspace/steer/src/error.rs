//! What can go wrong between the daemon and the kernel.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};

use crate::probe::Refusal;

/// Why the kernel side could not be set up, filled, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another daemon, or another command, works on the same state directory.
    #[error(
        "another sluice holds {}: stop it first, or give this one its own state_dir and bpffs_dir",
        .0.display()
    )]
    Busy(PathBuf),
    /// The kernel refused to attach a program to a device.
    #[error("cannot attach {hook} to {device}")]
    Attach {
        /// Name of the device.
        device: String,
        /// Name of the program.
        hook: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A pinned map is not what this version works with.
    #[error(
        "the pinned map {map} in {} does not fit this version ({found}, not {wanted}): `sluice \
         unload` removes it and opens the gate, `sluice load` closes it again",
        .dir.display()
    )]
    IncompatiblePin {
        /// Where the maps are pinned.
        dir: Box<Path>,
        /// Name of the map.
        map: &'static str,
        /// What is pinned.
        found: Box<str>,
        /// What would fit.
        wanted: Box<str>,
    },
    /// A file or directory could not be used.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was being done, to be followed by the path.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the object, or the object is damaged.
    #[error("cannot load the kernel programs")]
    Load(#[source] Box<EbpfError>),
    /// A map could not be opened, read or written.
    #[error("map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<MapError>,
    },
    /// What the kernel programs say cannot be read.
    #[error("cannot listen to the kernel programs")]
    KernelLog(#[source] io::Error),
    /// The object lacks a map or a program that this version needs: it was built from other
    /// sources.
    #[error("the kernel object has no {0}: build it from the same sources as this binary")]
    Missing(&'static str),
    /// Netlink refused a request.
    #[error("netlink: cannot {what}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// The netlink socket could not be opened, or died.
    #[error("netlink socket")]
    NetlinkSocket(#[source] io::Error),
    /// A socket that does not listen was to be handed steered flows.
    #[error("steered flows can only be handed to a TCP socket that listens")]
    NotListening,
    /// Nothing is loaded.
    #[error("nothing is loaded under {}: `sluice load` or `sluice run` closes the gate", .0.display())]
    NotLoaded(PathBuf),
    /// A link could not be pinned.
    #[error("cannot pin {}", .path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Box<PinError>,
    },
    /// The policy does not fit the kernel's maps.
    #[error("the policy has {found} {what}, the kernel's maps hold {limit}")]
    PolicyTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many the policy has.
        found: usize,
        /// How many fit.
        limit: usize,
    },
    /// The verifier refused a program, or a test run failed.
    #[error("kernel program {program}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The machine cannot run sluice.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This handle gave the kernel side up; a successor owns it.
    #[error("this process has handed the kernel programs over and no longer writes to them")]
    Released,
    /// A replay did not leave a verdict: the program ended elsewhere.
    #[error("the program left {0:#010x} in place of a verdict")]
    Replay(u32),
    /// The binary carries no kernel object.
    #[error(
        "this binary was built without the kernel object (SLUICE_SKIP_EBPF=1): build it again \
         with the BPF toolchain, which `cargo xtask setup` installs"
    )]
    Stub,
    /// A LAN device has frames that the programs cannot read.
    #[error(
        "the frames of {device} (ARPHRD {arphrd}) are neither Ethernet nor bare IP: take it out of \
         [gateway] lan"
    )]
    UnknownLinkType {
        /// Name of the device.
        device: String,
        /// The kernel's number for the kind of device.
        arphrd: u16,
    },
}

impl Error {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn map(map: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    pub(crate) fn netlink(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |source| Self::Netlink {
            what,
            source: Box::new(source),
        }
    }
}

// Every result carries room for it.
const _: () = assert!(size_of::<Error>() <= 72);
