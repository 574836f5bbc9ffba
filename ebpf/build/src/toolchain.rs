//! Finds a compiler with the sources of `core`, and the linker.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::BuildError;

/// How a compiler names the LLVM that the linker can read.
const LLVM: &str = "LLVM version: 22.";

/// A compiler that can build `core` for the BPF target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Toolchain {
    bin: PathBuf,
    llvm: Option<PathBuf>,
}

impl Toolchain {
    /// A rustup nightly with `rust-src` where there is one, else Debian's `rustc-web`.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoCore`] where there is neither.
    pub fn find() -> Result<Self, BuildError> {
        Self::nightly()
            .or_else(Self::debian)
            .ok_or(BuildError::NoCore)
    }

    /// The `cargo` of this toolchain.
    #[must_use]
    pub fn cargo(&self) -> PathBuf {
        self.bin.join("cargo")
    }

    /// The `rustc` of this toolchain.
    #[must_use]
    pub fn rustc(&self) -> PathBuf {
        self.bin.join("rustc")
    }

    /// A directory with an LLVM at least as new as the compiler's, for the linker to load.
    ///
    /// The linker finds the library of the rustup toolchain that runs it without help.
    pub(crate) fn llvm_dir(&self) -> Option<&Path> {
        self.llvm.as_deref()
    }

    fn nightly() -> Option<Self> {
        let sysroot = sysroot("rustc", &["+nightly"])?;
        let bin = sysroot.join("bin");
        let core = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        // A newer compiler writes bitcode that the linker's LLVM cannot read.
        let version = answer(Command::new(bin.join("rustc")).arg("-vV"))?;
        (core.exists() && version.contains(LLVM)).then(|| Self {
            bin,
            llvm: Some(sysroot.join("lib")),
        })
    }

    fn debian() -> Option<Self> {
        let core = Path::new("/usr/lib/rustlib/src/rust/library/core/src/lib.rs");
        let complete = core.exists()
            && Path::new("/usr/bin/cargo").exists()
            && Path::new("/usr/bin/rustc").exists();
        // Debian links its compiler to LLVM statically, so the linker borrows a rustup library.
        let llvm = sysroot("rustc", &[]).map(|sysroot| sysroot.join("lib"));
        complete.then(|| Self {
            bin: PathBuf::from("/usr/bin"),
            llvm,
        })
    }
}

/// The linker: the one that `cargo xtask setup` installed, else the first on the path.
#[must_use]
pub fn linker(root: &Path) -> Option<PathBuf> {
    let own = root.join("target/tools/bin/bpf-linker");
    if own.exists() {
        return Some(own);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join("bpf-linker"))
        .find(|file| file.exists())
}

fn sysroot(rustc: &str, args: &[&str]) -> Option<PathBuf> {
    let mut rustc = Command::new(rustc);
    // Inside a build script rustup's proxy would obey the outer toolchain.
    rustc.env_remove("RUSTUP_TOOLCHAIN");
    answer(rustc.args(args).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// What a command that succeeds says.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
