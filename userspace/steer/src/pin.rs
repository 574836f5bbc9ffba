//! Where things are pinned, and whether what is pinned fits.
//!
//! Everything lives under one directory of a BPF filesystem: `maps/NAME` for every map of
//! [`sluice_abi::map::ALL`], `links/DEVICE-ingress` and `links/DEVICE-egress` for every attachment.
//! aya uses a pinned map without comparing it to the one that the object asks for, so it is
//! compared here, before anything is loaded.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, Map, MapData, MapError, MapInfo},
    sys::SyscallError,
};
use sluice_abi::{
    ABI_VERSION, Hook,
    map::{self, MapSpec},
};

use crate::Error;

/// The directory of one sluice's pins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PinDir(PathBuf);

impl PinDir {
    /// The pins below `dir`, which is made when something is pinned.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.0.join("maps")
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.0.join("links")
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where the link of a program on a device is pinned.
    #[must_use]
    pub fn link(&self, device: &str, hook: Hook) -> PathBuf {
        self.links()
            .join(format!("{}-{}", escape(device), side(hook)))
    }

    pub(crate) fn create(&self) -> Result<(), Error> {
        for dir in [self.maps(), self.links()] {
            fs::create_dir_all(&dir).map_err(Error::io("cannot make the directory", &dir))?;
        }
        Ok(())
    }

    /// The devices and hooks that have a pinned link, in no order.
    pub(crate) fn pinned_links(&self) -> Result<Vec<(String, Hook)>, Error> {
        let dir = self.links();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("cannot read", dir)(error)),
        };
        let mut links = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::io("cannot read", &dir))?.file_name();
            links.extend(name.to_str().and_then(parse_link_name));
        }
        Ok(links)
    }

    /// Opens a pinned map.
    pub(crate) fn open(&self, spec: MapSpec) -> Result<Map, Error> {
        MapData::from_pin(self.map(spec.name))
            .and_then(Map::from_map_data)
            .map_err(|error| {
                if is_absent(&error) {
                    Error::NotLoaded(self.0.clone())
                } else {
                    Error::map(spec.name)(error)
                }
            })
    }

    /// Compares every pinned map with what this version works with.
    ///
    /// Maps whose version cell is still 0 were never filled: whoever made them died before, and
    /// they hold nothing that could be misread.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for spec in map::ALL {
            self.check_map(*spec)?;
        }
        if let Some(found) = self.abi_version()?
            && found != 0
            && found != ABI_VERSION
        {
            return Err(Error::IncompatiblePin {
                dir: self.maps().into(),
                map: map::ACTIVE.name,
                found: format!("version {found} of the layout").into(),
                wanted: format!("version {ABI_VERSION}").into(),
            });
        }
        Ok(())
    }

    fn check_map(&self, spec: MapSpec) -> Result<(), Error> {
        let info = match MapInfo::from_pin(self.map(spec.name)) {
            Ok(info) => info,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(Error::map(spec.name)(error)),
        };
        let map_type = info.map_type().map_err(Error::map(spec.name))?;
        let found = MapSpec {
            name: spec.name,
            map_type: map_type as u32,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
        };
        if found != spec {
            return Err(Error::IncompatiblePin {
                dir: self.maps().into(),
                map: spec.name,
                found: shape(found),
                wanted: shape(spec),
            });
        }
        Ok(())
    }

    /// The layout's version in the pinned maps; `None` where none is pinned.
    pub(crate) fn abi_version(&self) -> Result<Option<u32>, Error> {
        let map = match self.open(map::ACTIVE) {
            Ok(map) => map,
            Err(Error::NotLoaded(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = |map| Array::<_, u32>::try_from(map)?.get(&0, 0);
        read(map).map(Some).map_err(Error::map(map::ACTIVE.name))
    }
}

fn shape(spec: MapSpec) -> Box<str> {
    let MapSpec {
        map_type,
        key_size,
        value_size,
        max_entries,
        ..
    } = spec;
    format!(
        "type {map_type}, keys of {key_size} B, values of {value_size} B, {max_entries} entries"
    )
    .into()
}

pub(crate) fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(SyscallError { io_error, .. })
        if io_error.kind() == io::ErrorKind::NotFound)
}

pub(crate) const fn side(hook: Hook) -> &'static str {
    match hook {
        Hook::LanIngress => "ingress",
        Hook::LanEgress => "egress",
    }
}

/// A device's name as a BPF filesystem takes it: dots are reserved there
/// (<https://github.com/torvalds/linux/blob/v6.6/kernel/bpf/inode.c#L335>), and VLAN devices have
/// them.
fn escape(device: &str) -> String {
    let mut name = String::with_capacity(device.len());
    for byte in device.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            name.push(byte.into());
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

fn unescape(name: &str) -> Option<String> {
    let mut device = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = str::from_utf8(&digits).ok()?;
            device.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            device.push(byte);
        }
    }
    String::from_utf8(device).ok()
}

fn parse_link_name(name: &str) -> Option<(String, Hook)> {
    let (device, suffix) = name.rsplit_once('-')?;
    let hook = Hook::ALL.into_iter().find(|hook| side(*hook) == suffix)?;
    Some((unescape(device)?, hook))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_leads_back_to_its_device() {
        let dir = PinDir::new("/sys/fs/bpf/sluice");
        for device in ["lan0", "eth0.100", "br-lan", "wg%2e", "caf\u{e9}0"] {
            for hook in Hook::ALL {
                let path = dir.link(device, hook);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(!name.contains('.'), "{name}");
                assert_eq!(parse_link_name(name), Some((device.to_owned(), hook)));
            }
        }
        for name in ["lan0", "lan0-sideways", "a%2-ingress", "a%zz-egress"] {
            assert_eq!(parse_link_name(name), None);
        }
    }

    #[test]
    fn a_refused_pin_names_the_map_and_the_way_out() {
        let sentence = Error::IncompatiblePin {
            dir: Path::new("/sys/fs/bpf/sluice/maps").into(),
            map: map::FLOWS.name,
            found: shape(MapSpec {
                value_size: 24,
                ..map::FLOWS
            }),
            wanted: shape(map::FLOWS),
        }
        .to_string();
        for word in ["FLOWS", "24 B", "16 B", "sluice unload"] {
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}
