//! Builds the kernel object once, into one fixed target directory.
//!
//! The object needs a `core` built for BPF, which takes minutes the first time. Cargo would build
//! it anew for every profile, feature set and lint run that a build script's own directory belongs
//! to, so the object has a target directory of its own, `target/bpf`, whoever asks for it.

mod toolchain;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

pub use toolchain::{Toolchain, linker};

/// Release of bpf-linker that borrows the LLVM of the Rust compiler; later ones bring their own.
pub const LINKER_VERSION: &str = "0.10.3";

/// The compiler's name for the machine that runs the object.
const TARGET: &str = if cfg!(target_endian = "little") {
    "bpfel-unknown-none"
} else {
    "bpfeb-unknown-none"
};

/// Name of the binary that holds the programs.
const BINARY: &str = "lan";

/// Why there is no kernel object.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Neither a nightly with `rust-src` nor Debian's `rust-web-src` is installed.
    NoCore,
    /// `bpf-linker` is not installed.
    NoLinker,
    /// A program could not be started, or a file not be read.
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The compiler refused the programs; it has said why.
    Compile,
    /// The object has no BTF, so its maps and line information are missing.
    NoBtf(PathBuf),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCore => f.write_str(
                "no source of `core` for the BPF target: run `cargo xtask setup`, or install a \
                 rustup nightly with the component rust-src",
            ),
            Self::NoLinker => {
                write!(f, "no bpf-linker {LINKER_VERSION}: run `cargo xtask setup`")
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Compile => f.write_str("the kernel programs do not compile"),
            Self::NoBtf(path) => write!(
                f,
                "{} carries no BTF: remove it and build again without RUSTFLAGS",
                path.display()
            ),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Where the kernel object is built, below the root of the repository.
#[must_use]
pub fn target_dir(root: &Path) -> PathBuf {
    root.join("target").join("bpf")
}

/// Builds the kernel object if its sources changed, and returns its path.
///
/// # Errors
///
/// When a tool is missing (`cargo xtask setup` brings it), or the programs do not compile.
pub fn build(root: &Path) -> Result<PathBuf, BuildError> {
    let toolchain = Toolchain::find()?;
    let linker = linker(root).ok_or(BuildError::NoLinker)?;
    let target_dir = target_dir(root);
    let mut cargo = Command::new(toolchain.cargo());
    cargo.current_dir(root);
    // Cargo hands a build script variables that would reach into the inner build.
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let foreign = name.starts_with("CARGO")
            && !matches!(
                &*name,
                "CARGO_HOME" | "CARGO_TERM_COLOR" | "CARGO_NET_OFFLINE"
            );
        if foreign || name.starts_with("RUST") || name == "OUT_DIR" || name == "TARGET" {
            cargo.env_remove(&key);
        }
    }
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
    ];
    cargo
        .env("RUSTC", toolchain.rustc())
        .env("RUSTC_BOOTSTRAP", "1")
        // A RUSTFLAGS of the caller would take the place of these and drop BTF without a word.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "sluice-programs",
            "--bin",
            BINARY,
        ])
        .args([
            "--features",
            "kernel",
            "--profile",
            "kernel",
            "-Zbuild-std=core",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    if let Some(llvm) = toolchain.llvm_dir() {
        cargo.env("LD_LIBRARY_PATH", llvm);
    }
    let status = cargo.status().map_err(|source| BuildError::Io {
        what: format!("starting {cargo:?}"),
        source,
    })?;
    if !status.success() {
        return Err(BuildError::Compile);
    }
    let object = target_dir.join(TARGET).join("kernel").join(BINARY);
    let bytes = fs::read(&object).map_err(|source| BuildError::Io {
        what: format!("reading {}", object.display()),
        source,
    })?;
    if !bytes.windows(5).any(|window| window == b".BTF\0") {
        return Err(BuildError::NoBtf(object));
    }
    Ok(object)
}
