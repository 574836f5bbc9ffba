//! Attaches the programs to devices: first in TCX order, held by a pinned link.
//!
//! A link that is pinned already is adopted: the kernel exchanges its program in one step, so a
//! restart never leaves a device without one.

use std::{fs, io};

use aya::{
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, LinkError, PinnedLink},
        tc::{SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions},
    },
    sys::SyscallError,
};
use sluice_abi::Hook;

use crate::{Device, Error, LinkType, PinDir, load::Loader};

/// How a program came to its device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attachment {
    /// The program was there already.
    Present,
    /// The pinned link of an earlier process was taken over.
    Adopted,
    /// A new link was made.
    Fresh,
}

pub(crate) const fn attach_type(hook: Hook) -> TcAttachType {
    match hook {
        Hook::LanIngress => TcAttachType::Ingress,
        Hook::LanEgress => TcAttachType::Egress,
    }
}

/// Puts the program of a hook on a device, and holds it there by a pinned link.
pub(crate) fn attach(
    loader: &mut Loader,
    pins: &PinDir,
    device: &Device,
    link_type: LinkType,
    hook: Hook,
) -> Result<Attachment, Error> {
    let path = pins.link(&device.name, hook);
    let program = loader.program(link_type, hook)?;
    let failed = |source| Error::Attach {
        device: device.name.clone(),
        hook: hook.name(),
        source: Box::new(source),
    };
    if is_attached(program, &device.name, hook).map_err(failed)? && path.exists() {
        return Ok(Attachment::Present);
    }
    // Held until the new link is in force: whatever it is attached to stays policed meanwhile.
    let mut superseded = None;
    match PinnedLink::from_pin(&path) {
        Ok(old) => {
            if let Some(link) = adopt(program, FdLink::from(old)).map_err(failed)? {
                if is_attached(program, &device.name, hook).map_err(failed)? {
                    return Ok(Attachment::Adopted);
                }
                superseded = Some(link);
            }
            fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
        }
        Err(LinkError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(link_error(error))),
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(&device.name, attach_type(hook), options)
        .map_err(failed)?;
    let link = take(program, id).map_err(failed)?;
    link.pin(&path).map_err(|source| Error::Pin {
        path,
        source: Box::new(source),
    })?;
    drop(superseded);
    Ok(Attachment::Fresh)
}

/// Gives a pinned link this program; `None` where the link's device is gone.
///
/// The link may belong to another device than the name says, one that was renamed: the caller
/// looks whether the program has come to the device that was meant.
fn adopt(program: &mut SchedClassifier, link: FdLink) -> Result<Option<FdLink>, ProgramError> {
    let Ok(link) = SchedClassifierLink::try_from(link) else {
        return Ok(None);
    };
    match program.attach_to_link(link) {
        Ok(id) => take(program, id).map(Some),
        // ENOLINK: the device is gone and took the attachment with it.
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if io_error.raw_os_error() == Some(rustix::io::Errno::NOLINK.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn take(program: &mut SchedClassifier, id: SchedClassifierLinkId) -> Result<FdLink, ProgramError> {
    program.take_link(id)?.try_into().map_err(link_error)
}

fn link_error(error: LinkError) -> ProgramError {
    match error {
        LinkError::SyscallError(error) => error.into(),
        _ => ProgramError::UnexpectedProgramType,
    }
}

/// Whether this very program runs on the device.
fn is_attached(program: &SchedClassifier, device: &str, hook: Hook) -> Result<bool, ProgramError> {
    let id = program.info()?.id();
    let (_, attached) = SchedClassifier::query_tcx(device, attach_type(hook))?;
    Ok(attached.iter().any(|info| info.id() == id))
}
