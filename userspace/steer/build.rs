//! Embeds the kernel object, or an empty stub where `SLUICE_SKIP_EBPF=1` says so.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=SLUICE_SKIP_EBPF");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("sluice.o");
    if env::var_os("SLUICE_SKIP_EBPF").is_some_and(|value| value == "1") {
        fs::write(out, [])?;
        return Ok(());
    }
    let manifest = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest)
        .ancestors()
        .nth(2)
        .ok_or("the crate stands two levels below the repository's root")?;
    for source in ["ebpf/abi", "ebpf/programs", "ebpf/build/src"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    fs::copy(sluice_ebpf_build::build(root)?, out)?;
    Ok(())
}
