//! The guard on instructions of minting, of the same kind as `icount.rs`. Serial numbers and nonces are
//! random, so that counts vary from run to run, by a quarter of a hundredth for a new leaf.
#![expect(
    clippy::expect_used,
    reason = "a case that cannot be prepared leaves nothing to count"
)]
#![expect(
    missing_docs,
    unused_qualifications,
    reason = "what the macros of gungraun write"
)]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use sluice_guard::work::NAME;
use sluice_mint::{
    AuthorityFiles, Clock as _, Existing, Fingerprint, Leaf, LeafName, LeafRequest, Minter,
    MinterOptions, NewAuthority, Origin, OriginCertificate, SystemClock,
};

/// A case that took so many instructions when they were last counted.
fn counted(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions / 50;
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, limit)]));
    config
}

/// A CA, and who asks for what.
struct Minting {
    minter: Minter,
    request: LeafRequest,
}

fn minting() -> Box<Minting> {
    let folder = tempfile::tempdir().expect("a folder");
    let files = AuthorityFiles {
        certificate: folder.path().join("ca.pem"),
        key: folder.path().join("ca.key"),
    };
    let clock = SystemClock::default();
    let now = clock.unix();
    files
        .create(&NewAuthority::default(), None, Existing::Keep, now)
        .expect("a CA");
    let authorities = files.load(None, now).expect("a CA");
    let minter = Minter::new(authorities, &MinterOptions::default(), Arc::new(clock));
    let request = LeafRequest {
        client: IpAddr::from(Ipv4Addr::LOCALHOST),
        name: LeafName::parse(NAME).expect("a name"),
        origin: Origin::Accepted(OriginCertificate {
            fingerprint: Fingerprint([1; 32]),
            not_before: 0,
            not_after: i64::from(u32::MAX),
        }),
    };
    let minting = Minting {
        minter: minter.expect("a minter"),
        request,
    };
    minting.minter.leaf(&minting.request).expect("a leaf");
    Box::new(minting)
}

#[library_benchmark(setup = minting)]
// A signature of P-256, by code without the instructions that callgrind does not know.
#[bench::new(config = counted(270_300))]
fn mint(minting: Box<Minting>) -> (Leaf, Box<Minting>) {
    let leaf = minting.minter.mint(black_box(&minting.request));
    (leaf.expect("a leaf"), minting)
}

#[library_benchmark(setup = minting)]
// A look-up by name and fingerprint, and the place in the order of use.
#[bench::kept(config = counted(1_800))]
fn leaf(minting: Box<Minting>) -> (Arc<Leaf>, Box<Minting>) {
    let leaf = minting.minter.leaf(black_box(&minting.request));
    (leaf.expect("a leaf"), minting)
}

library_benchmark_group!(name = leaves, benchmarks = [mint, leaf]);
main!(library_benchmark_groups = leaves);
