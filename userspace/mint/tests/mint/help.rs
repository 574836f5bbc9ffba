//! What the tests share: an authority, a clock that can be turned, certificates of others.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rcgen::{CertificateParams, Issuer, KeyPair};
use sluice_mint::{
    Authorities, AuthorityFiles, Clock, Existing, Fingerprint, Leaf, LeafName, LeafRequest,
    MintError, Minter, MinterOptions, NewAuthority, Origin, OriginCertificate,
};
use tempfile::TempDir;

/// The time by which tools of others judge.
pub(crate) fn real_now() -> i64 {
    sluice_mint::SystemClock::default().unix()
}

pub(crate) const DAY: i64 = 86_400;
pub(crate) const YEAR: i64 = 366 * DAY;

/// A clock on the wall that is turned by hand, and one that stands still.
#[derive(Debug)]
pub(crate) struct Turned {
    unix: AtomicI64,
    monotonic: AtomicI64,
}

impl Turned {
    pub(crate) fn new(unix: i64) -> Arc<Self> {
        Arc::new(Self {
            unix: AtomicI64::new(unix),
            monotonic: AtomicI64::new(0),
        })
    }

    pub(crate) fn set(&self, unix: i64) {
        self.unix.store(unix, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.monotonic.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Turned {
    fn unix(&self) -> i64 {
        self.unix.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        let seconds = self.monotonic.load(Ordering::Relaxed);
        Duration::from_secs(seconds.try_into().unwrap())
    }
}

/// An authority in a directory that goes with it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) files: AuthorityFiles,
}

impl Place {
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), "ca");
        Self { dir, files }
    }

    pub(crate) fn with(new: &NewAuthority, now: i64) -> Self {
        let place = Self::empty();
        place.files.create(new, None, Existing::Keep, now).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn load(&self, now: i64) -> Authorities {
        self.files.load(None, now).unwrap()
    }

    /// Writes a certificate and a key of others.
    pub(crate) fn put(&self, name: &str, certificates: &str, key: &str) -> AuthorityFiles {
        use std::os::unix::fs::PermissionsExt;
        let files = files(self.dir.path(), name);
        std::fs::write(&files.certificate, certificates).unwrap();
        std::fs::write(&files.key, key).unwrap();
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&files.key, owner_only).unwrap();
        files
    }
}

fn files(dir: &Path, name: &str) -> AuthorityFiles {
    AuthorityFiles {
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    }
}

/// A minter of a fresh authority.
pub(crate) fn minter(clock: &Arc<Turned>, options: &MinterOptions) -> Minter {
    let now = clock.unix();
    let place = Place::with(&NewAuthority::default(), now);
    Minter::new(place.load(now), options, clock.clone()).unwrap()
}

pub(crate) fn name(text: &str) -> LeafName {
    LeafName::parse(text).unwrap()
}

/// An origin's certificate, valid from and to these days from now.
pub(crate) fn origin(now: i64, from: i64, to: i64) -> OriginCertificate {
    OriginCertificate {
        fingerprint: Fingerprint::of(&[from.to_be_bytes(), to.to_be_bytes()].concat()),
        not_before: now + from * DAY,
        not_after: now + to * DAY,
    }
}

pub(crate) fn request(asked: &str, origin: Origin) -> LeafRequest {
    LeafRequest {
        client: "192.0.2.7".parse().unwrap(),
        name: name(asked),
        origin,
    }
}

/// A leaf for an origin that is in order for a month yet.
pub(crate) fn ordinary(minter: &Minter, asked: &str, now: i64) -> Result<Arc<Leaf>, MintError> {
    minter.leaf(&request(asked, Origin::Accepted(origin(now, -30, 30))))
}

/// Runs a tool of others, which `cargo xtask setup` installs, and returns whether it succeeded
/// and what it said.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: cargo xtask setup installs it"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A root and an intermediate of others, with the keys.
pub(crate) struct Company {
    pub(crate) root: String,
    pub(crate) intermediate: String,
    pub(crate) key: String,
}

impl Company {
    /// Makes them, each as `root` and `intermediate` change it.
    pub(crate) fn new(
        root: impl FnOnce(&mut CertificateParams),
        intermediate: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut above = ca_params("Company root");
        root(&mut above);
        let root_key = KeyPair::generate().unwrap();
        let root = above.self_signed(&root_key).unwrap().pem();
        let mut below = ca_params("Company gateways");
        intermediate(&mut below);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(above, root_key);
        let intermediate = below.signed_by(&key, &issuer).unwrap().pem();
        Self {
            root,
            intermediate,
            key: key.serialize_pem(),
        }
    }
}

/// What a CA of others says, valid from a day ago for ten years.
pub(crate) fn ca_params(subject: &str) -> CertificateParams {
    let at =
        |days: i64| time::OffsetDateTime::from_unix_timestamp(real_now() + days * DAY).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "Company");
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, subject);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at(-1);
    params.not_after = at(3650);
    params
}
