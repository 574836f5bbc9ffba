//! `cargo xtask setup`: installs what is missing, and does nothing where all is there.
//!
//! Programs come from Debian's packages where they are; tools of Rust are compiled into
//! `target/tools`, so that nothing of the user's own is replaced.

mod debian;
mod node;
mod python;
mod rust;

use anyhow::{Result, bail};

use crate::repo;

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the feature `kerberos` of the gateway needs too, and its test: a KDC among it
    #[arg(long)]
    kerberos: bool,
}

/// What something is needed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum For {
    /// Building the kernel object.
    Kernel,
    /// Standing up the lab.
    Lab,
    /// Running the tests.
    Test,
    /// Linting.
    Lint,
    /// Counting instructions.
    Guard,
    /// Measuring.
    Bench,
    /// Building and testing the gateway with Kerberos.
    Kerberos,
}

/// All but what only measuring and Kerberos need.
pub(crate) const ALL: &[For] = &[For::Kernel, For::Lab, For::Test, For::Lint, For::Guard];

/// A program, the Debian package that has it, and who needs it.
struct Program {
    name: &'static str,
    package: &'static str,
    needed_for: For,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "ip",
        package: "iproute2",
        needed_for: For::Lab,
    },
    Program {
        name: "mount",
        package: "mount",
        needed_for: For::Lab,
    },
    Program {
        name: "curl",
        package: "curl",
        needed_for: For::Lab,
    },
    Program {
        name: "openssl",
        package: "openssl",
        needed_for: For::Test,
    },
    Program {
        name: "certtool",
        package: "gnutls-bin",
        needed_for: For::Test,
    },
    Program {
        name: "python3",
        package: "python3",
        needed_for: For::Test,
    },
    Program {
        name: "chromium",
        package: "chromium",
        needed_for: For::Test,
    },
    Program {
        name: "chromedriver",
        package: "chromium-driver",
        needed_for: For::Test,
    },
    Program {
        name: "certutil",
        package: "libnss3-tools",
        needed_for: For::Test,
    },
    Program {
        name: "testssl",
        package: "testssl.sh",
        needed_for: For::Test,
    },
    Program {
        name: "nft",
        package: "nftables",
        needed_for: For::Test,
    },
    Program {
        name: "ethtool",
        package: "ethtool",
        needed_for: For::Test,
    },
    Program {
        name: "node",
        package: "nodejs",
        needed_for: For::Test,
    },
    Program {
        name: "npm",
        package: "npm",
        needed_for: For::Test,
    },
    Program {
        name: "git",
        package: "git",
        needed_for: For::Test,
    },
    Program {
        name: "wget",
        package: "wget",
        needed_for: For::Test,
    },
    // Without the package of the same name, which would start a server.
    Program {
        name: "apache2",
        package: "apache2-bin",
        needed_for: For::Test,
    },
    Program {
        name: "slapd",
        package: "slapd",
        needed_for: For::Test,
    },
    Program {
        name: "haproxy",
        package: "haproxy",
        needed_for: For::Bench,
    },
    // Without the package of the same name, which would start a server.
    Program {
        name: "tinyproxy",
        package: "tinyproxy-bin",
        needed_for: For::Bench,
    },
    // Where Debian starts servers with their package, it also starts this one, on port 3128.
    Program {
        name: "squid",
        package: "squid-openssl",
        needed_for: For::Bench,
    },
    Program {
        name: "valgrind",
        package: "valgrind",
        needed_for: For::Guard,
    },
    Program {
        name: "krb5-config",
        package: "libkrb5-dev",
        needed_for: For::Kerberos,
    },
    Program {
        name: "krb5kdc",
        package: "krb5-kdc",
        needed_for: For::Kerberos,
    },
    Program {
        name: "kadmin.local",
        package: "krb5-admin-server",
        needed_for: For::Kerberos,
    },
    Program {
        name: "kinit",
        package: "krb5-user",
        needed_for: For::Kerberos,
    },
];

/// The package of the library by which bindgen reads headers.
const LIBCLANG: &str = "libclang-dev";

/// Installs what somebody asks for by name.
///
/// # Errors
///
/// Those of [`run`].
pub(crate) fn asked(args: &Args) -> Result<()> {
    let mut purposes = ALL.to_vec();
    purposes.extend(args.kerberos.then_some(For::Kerberos));
    run(&purposes)
}

/// Installs what is missing for these purposes.
///
/// # Errors
///
/// When something cannot be installed here; it says what to install by hand.
pub(crate) fn run(purposes: &[For]) -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|program| purposes.contains(&program.needed_for))
        .filter(|program| repo::find(program.name).is_none())
        .map(|program| program.package)
        .collect();
    if purposes.contains(&For::Kerberos) && !debian::has_libclang() {
        missing.push(LIBCLANG);
    }
    if purposes.contains(&For::Kernel) && !rust::has_core() && !rust::add_core_source() {
        missing.extend(debian::RUST_WITH_SOURCE);
    }
    if !missing.is_empty() {
        debian::install(&missing)?;
    }
    if purposes.contains(&For::Kernel) {
        if !rust::has_core() {
            bail!("{}", rust::CORE_BY_HAND);
        }
        rust::install(&rust::BPF_LINKER)?;
    }
    if purposes.contains(&For::Test) {
        rust::install(&rust::NEXTEST)?;
        for (package, program) in debian::UNPACKED {
            if repo::find(program).is_none() {
                debian::unpack(package, program)?;
            }
        }
        python::install_sslyze()?;
        python::install_servers()?;
        node::unpack_axe()?;
    }
    if purposes.contains(&For::Lint) {
        rust::components(&["rustfmt", "clippy"])?;
        rust::install(&rust::DENY)?;
    }
    if purposes.contains(&For::Guard) {
        rust::install(&rust::GUNGRAUN)?;
    }
    Ok(())
}
