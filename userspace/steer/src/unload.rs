//! Opens the gate: removes everything that is sluice's, and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, PinDir, StateLock, netlink::Netlink, route};

/// What to remove.
#[derive(Clone, Debug)]
pub struct UnloadOptions {
    /// Where things are pinned.
    pub bpffs_dir: PathBuf,
    /// Where the lock is.
    pub state_dir: PathBuf,
    /// The routing table that held the local route.
    pub table: u32,
    /// Remove although a daemon holds the lock: the way out when it is stuck.
    pub force: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unloaded {
    /// Attachments to devices.
    pub links: usize,
    /// Maps.
    pub maps: usize,
    /// Routing rules and routes.
    pub routes: usize,
}

impl Unloaded {
    /// Whether nothing was there.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Removes links, maps, rules and routes, also where some of them are missing.
///
/// Works without the kernel object, and on pins of any version.
///
/// # Errors
///
/// [`Error::Busy`] where a daemon runs and `force` is not set; else what the kernel refused. What
/// can be removed is removed first.
pub async fn unload(options: &UnloadOptions) -> Result<Unloaded, Error> {
    let _lock = match StateLock::take(&options.state_dir) {
        Ok(lock) => Some(lock),
        Err(Error::Busy(_)) if options.force => None,
        Err(error) => return Err(error),
    };
    let pins = PinDir::new(&options.bpffs_dir);
    // The links first: a program without its rule would send steered packets astray.
    let links = remove_dir(&pins.links())?;
    let routes = async { route::remove(&Netlink::connect()?, options.table).await }.await;
    let maps = remove_dir(&pins.maps())?;
    match fs::remove_dir(pins.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("cannot remove the directory", pins.path())(error));
        }
        _ => {}
    }
    Ok(Unloaded {
        links,
        maps,
        routes: routes?,
    })
}

fn remove_dir(dir: &Path) -> Result<usize, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io("cannot read", dir)(error)),
    };
    let mut removed = 0;
    for entry in entries {
        let path = entry.map_err(Error::io("cannot read", dir))?.path();
        removed += usize::from(remove_file(&path)?);
    }
    fs::remove_dir(dir).map_err(Error::io("cannot remove the directory", dir))?;
    Ok(removed)
}

/// Removes a pin; `false` where it was gone already.
pub(crate) fn remove_file(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("cannot remove", path)(error)),
    }
}
