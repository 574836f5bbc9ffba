//! Loads the object, once for each kind of device, over one set of maps.

use std::collections::BTreeMap;

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, SchedClassifier},
};
use sluice_abi::{
    ABI_VERSION, Hook,
    map::{self, MapSpec},
};

use crate::{Error, KernelLog, LinkType, PinDir, kernel_log, maps::array, object::object};

/// Load-time constant of the object: the [`LinkType`].
const LINK_TYPE: &str = "LINK_TYPE";
/// Load-time constant of the object: whether the programs end with the verdict in `skb->cb`.
const REPLAY: &str = "REPLAY";

/// The programs in the kernel, with maps that outlive this process.
#[derive(Debug)]
pub(crate) struct Loader {
    pins: PinDir,
    log: KernelLog,
    loaded: BTreeMap<LinkType, Ebpf>,
}

impl Loader {
    /// Makes or adopts the pinned maps and loads the programs for Ethernet.
    pub(crate) fn new(pins: PinDir, log: KernelLog) -> Result<Self, Error> {
        object()?;
        pins.check()?;
        pins.create()?;
        let mut loader = Self {
            pins,
            log,
            loaded: BTreeMap::new(),
        };
        loader.ensure(LinkType::Ethernet)?;
        // What aya made from the object is held against the list as well.
        loader.pins.check()?;
        let mut active = array::<u32>(loader.pins.open(map::ACTIVE)?, map::ACTIVE)?;
        active
            .set(0, ABI_VERSION, 0)
            .map_err(Error::map(map::ACTIVE.name))?;
        Ok(loader)
    }

    fn ensure(&mut self, link_type: LinkType) -> Result<&mut Ebpf, Error> {
        // Not the entry API: loading can fail.
        if !self.loaded.contains_key(&link_type) {
            let purpose = Purpose::Live(&self.pins, self.log);
            let mut object = load_object(link_type, purpose)?;
            if self.log != KernelLog::Off {
                kernel_log::follow(&mut object)?;
            }
            self.loaded.insert(link_type, object);
        }
        self.loaded
            .get_mut(&link_type)
            .ok_or(Error::Missing("programs"))
    }

    /// The program of a hook for a kind of device, in the kernel.
    pub(crate) fn program(
        &mut self,
        link_type: LinkType,
        hook: Hook,
    ) -> Result<&mut SchedClassifier, Error> {
        program(self.ensure(link_type)?, hook)
    }
}

/// What the programs are loaded for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose<'a> {
    /// To be attached: they carry their verdict out, and share the maps pinned there.
    Live(&'a PinDir, KernelLog),
    /// To be run over frames, attached to nothing, with maps of their own.
    Bench {
        /// They leave their verdict in `skb->cb` and end. There is no way to ask for this
        /// together with pinned maps, so that no device is ever given such programs.
        replay: bool,
    },
}

/// Loads maps and both programs.
pub(crate) fn load_object(link_type: LinkType, purpose: Purpose<'_>) -> Result<Ebpf, Error> {
    let link_type = link_type as u8;
    let replay = u8::from(matches!(purpose, Purpose::Bench { replay: true }));
    let level = match purpose {
        Purpose::Live(_, log) => log.level(),
        Purpose::Bench { .. } => KernelLog::Off.level(),
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(LINK_TYPE, &link_type, true)
        .override_global(REPLAY, &replay, true)
        .override_global(kernel_log::LEVEL, &level, true);
    if let Purpose::Live(pins, _) = purpose {
        for MapSpec { name, .. } in map::ALL {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    let mut object = loader
        .load(object()?)
        .map_err(|error| Error::Load(Box::new(error)))?;
    for hook in Hook::ALL {
        program(&mut object, hook)?
            .load()
            .map_err(program_error(hook))?;
    }
    Ok(object)
}

pub(crate) fn program(object: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier, Error> {
    object
        .program_mut(hook.name())
        .ok_or(Error::Missing(hook.name()))?
        .try_into()
        .map_err(program_error(hook))
}

pub(crate) fn program_error(hook: Hook) -> impl FnOnce(ProgramError) -> Error {
    move |source| Error::Program {
        program: hook.name(),
        source: Box::new(source),
    }
}
