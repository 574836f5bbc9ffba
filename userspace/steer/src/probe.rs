//! Can this machine run sluice? Asked before anything is changed.
//!
//! What the kernel offers is collected into [`Probe`]; [`Probe::check`] is a pure function of it
//! and names the first thing that is missing, together with what brings it.

use std::{fmt, fs, path::Path, str::FromStr};

use rustix::{
    fs::statfs,
    process::geteuid,
    system::uname,
    thread::{CapabilitySet, capabilities},
};

/// A kernel release, as far as it tells features apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl KernelVersion {
    /// The oldest kernel that sluice runs on.
    pub const MINIMUM: Self = Self { major: 6, minor: 6 };
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for KernelVersion {
    type Err = ();

    /// Reads the beginning of what `uname -r` prints.
    fn from_str(release: &str) -> Result<Self, ()> {
        let mut numbers = release
            .split(|letter: char| !letter.is_ascii_digit())
            .map(|number| number.parse::<u32>().map_err(|_| ()));
        let mut next = || numbers.next().unwrap_or(Err(()));
        Ok(Self {
            major: next()?,
            minor: next()?,
        })
    }
}

/// What was found out about the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// What `uname -r` prints.
    pub release: String,
    /// The kernel describes its own types.
    pub btf: bool,
    /// The process is root.
    pub root: bool,
    /// The process may load programs and maps: CAP_BPF or CAP_SYS_ADMIN.
    pub cap_bpf: bool,
    /// The process may attach them and change routes: CAP_NET_ADMIN.
    pub cap_net_admin: bool,
    /// The directory for pins is on a BPF filesystem, or its nearest existing parent is.
    pub bpffs: bool,
    /// The directory for pins, for the message.
    pub bpffs_dir: String,
}

/// Why sluice does not start here, in one sentence with its cure.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `bpffs_dir` is not on a BPF filesystem.
    #[error(
        "{0} is not on a BPF filesystem, so nothing would stay attached: mount one with `mount -t \
         bpf bpf /sys/fs/bpf`, or set [gateway] bpffs_dir to a directory below one"
    )]
    NoBpffs(String),
    /// The kernel has no BTF.
    #[error(
        "Linux {0} was built without BTF (no /sys/kernel/btf/vmlinux), which the kernel programs \
         need: use a kernel with CONFIG_DEBUG_INFO_BTF=y, as the distributions' own kernels have"
    )]
    NoBtf(String),
    /// The process may not load programs or attach them.
    #[error(
        "{0} is missing: run as root, or give the service CAP_BPF and CAP_NET_ADMIN (and CAP_PERFMON \
         and CAP_DAC_OVERRIDE for a bpffs that belongs to root)"
    )]
    NoCapability(&'static str),
    /// The kernel is older than 6.6.
    #[error(
        "Linux {0} is too old: sluice attaches by TCX and steers to a group of listeners, which \
         came with Linux 6.6 (Debian 12: install the kernel of bookworm-backports, `apt install -t \
         bookworm-backports linux-image-amd64`)"
    )]
    TooOld(String),
    /// `uname -r` begins with no version.
    #[error(
        "the kernel calls itself {0:?}, which names no version; sluice needs Linux 6.6 or later"
    )]
    UnknownVersion(String),
}

impl Probe {
    /// Looks at the machine; changes nothing and cannot fail: what cannot be seen is not there.
    #[must_use]
    pub fn collect(bpffs_dir: &Path) -> Self {
        let caps = capabilities(None)
            .map(|sets| sets.effective)
            .unwrap_or(CapabilitySet::empty());
        Self {
            release: uname().release().to_string_lossy().into_owned(),
            btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            root: geteuid().is_root(),
            cap_bpf: caps.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN),
            cap_net_admin: caps.contains(CapabilitySet::NET_ADMIN),
            bpffs: on_bpffs(bpffs_dir),
            bpffs_dir: bpffs_dir.display().to_string(),
        }
    }

    /// Whether sluice can run here.
    ///
    /// # Errors
    ///
    /// The first thing that is missing. The version comes first: on an older kernel the rest may
    /// be missing for that reason.
    pub fn check(&self) -> Result<KernelVersion, Refusal> {
        let Ok(version) = self.release.parse::<KernelVersion>() else {
            return Err(Refusal::UnknownVersion(self.release.clone()));
        };
        if version < KernelVersion::MINIMUM {
            return Err(Refusal::TooOld(self.release.clone()));
        }
        if !self.cap_bpf {
            return Err(Refusal::NoCapability("CAP_BPF"));
        }
        if !self.cap_net_admin {
            return Err(Refusal::NoCapability("CAP_NET_ADMIN"));
        }
        if !self.btf {
            return Err(Refusal::NoBtf(self.release.clone()));
        }
        if !self.bpffs {
            return Err(Refusal::NoBpffs(self.bpffs_dir.clone()));
        }
        Ok(version)
    }
}

/// Whether `dir`, or the nearest parent that exists, is on a BPF filesystem.
fn on_bpffs(dir: &Path) -> bool {
    // <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/magic.h#L92>
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    dir.ancestors()
        .find_map(|path| statfs(path).ok())
        .is_some_and(|found| found.f_type.cast_unsigned() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> Probe {
        Probe {
            release: "6.12.9+bpo-amd64".to_owned(),
            btf: true,
            root: true,
            cap_bpf: true,
            cap_net_admin: true,
            bpffs: true,
            bpffs_dir: "/sys/fs/bpf/sluice".to_owned(),
        }
    }

    #[test]
    fn a_release_is_read_up_to_its_minor_number() {
        for (release, major, minor) in [
            ("6.6.0", 6, 6),
            ("6.18.44-fc-v669", 6, 18),
            ("7.0-rc1", 7, 0),
            ("10.2", 10, 2),
        ] {
            assert_eq!(release.parse(), Ok(KernelVersion { major, minor }));
        }
        for release in ["", "6", "six.six", ".6"] {
            assert_eq!(release.parse::<KernelVersion>(), Err(()));
        }
    }

    #[test]
    fn h8_an_old_kernel_is_refused_with_its_version_and_the_cure() {
        for release in ["6.5.13", "6.1.0-28-amd64", "5.15.0", "4.19.1"] {
            let probe = Probe {
                release: release.to_owned(),
                btf: false,
                ..able()
            };
            let sentence = probe.check().unwrap_err().to_string();
            for word in [release, "6.6", "TCX", "bookworm-backports"] {
                assert!(sentence.contains(word), "{sentence}");
            }
        }
        assert!(
            Probe {
                release: "6.6.1".to_owned(),
                ..able()
            }
            .check()
            .is_ok()
        );
    }

    #[test]
    fn h8_each_missing_part_is_named() {
        let cases = [
            (
                Probe {
                    cap_bpf: false,
                    ..able()
                },
                "CAP_BPF",
            ),
            (
                Probe {
                    cap_net_admin: false,
                    ..able()
                },
                "CAP_NET_ADMIN",
            ),
            (
                Probe {
                    btf: false,
                    ..able()
                },
                "CONFIG_DEBUG_INFO_BTF",
            ),
            (
                Probe {
                    bpffs: false,
                    ..able()
                },
                "mount -t bpf",
            ),
            (
                Probe {
                    release: "?".to_owned(),
                    ..able()
                },
                "no version",
            ),
        ];
        for (probe, word) in cases {
            assert!(probe.check().unwrap_err().to_string().contains(word));
        }
        assert_eq!(
            able().check(),
            Ok(KernelVersion {
                major: 6,
                minor: 12
            })
        );
    }
}
