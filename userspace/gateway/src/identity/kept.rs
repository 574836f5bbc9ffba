//! What the daemon was told of addresses, kept over its end in `identities.json` of the state
//! directory.
//!
//! Whoever tells does so when a session begins, and would have to know of every restart. What was
//! learned is learned again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{Identity, Source, addresses::Addresses};
use crate::{config::user_name, daemon::worker::Shared};

/// The name of the file.
pub const FILE: &str = "identities.json";

/// Time between two writings, however much is told.
const PAUSE: Duration = Duration::from_secs(5);
/// Bytes that the file may have: more than everything that can be told in a year's length.
const SIZE: u64 = 1 << 30;
/// No time that was told is longer.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

#[derive(Deserialize, Serialize)]
struct Kept {
    /// Of the form of this file; another one is left alone.
    version: u32,
    identities: Vec<One>,
}

#[derive(Deserialize, Serialize)]
struct One {
    address: IpAddr,
    user: String,
    groups: Vec<String>,
    /// In milliseconds since 1970.
    until: u64,
}

/// Writes what was told, in place of what was written before, readable by the owner alone.
///
/// # Errors
///
/// The directory or the file cannot be written; what was written before stays then.
pub fn save(
    path: &Path,
    addresses: &Addresses,
    (now, wall): (Instant, SystemTime),
) -> io::Result<()> {
    let told = addresses.list(None, usize::MAX, now).into_iter();
    let told = told.filter(|held| held.identity.source == Source::Address);
    let identities = told.map(|held| One {
        address: held.address,
        user: held.identity.user.to_string(),
        groups: held
            .identity
            .groups
            .iter()
            .map(ToString::to_string)
            .collect(),
        until: millis(wall.checked_add(held.left).unwrap_or(wall)),
    });
    let kept = Kept {
        version: 1,
        identities: identities.collect(),
    };
    let text = serde_json::to_vec(&kept)?;
    if let Some(folder) = path.parent() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
    }
    let next = path.with_extension("json.new");
    // Left over from a writing that was interrupted.
    let _absent = fs::remove_file(&next);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&next, path)
}

/// Tells again what was written, with the time that is left of it; returns of how many addresses.
///
/// # Errors
///
/// The file is there, and cannot be read or was not written by this.
pub fn restore(
    path: &Path,
    addresses: &Addresses,
    (now, wall): (Instant, SystemTime),
) -> io::Result<usize> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(SIZE).read_to_end(&mut text)?;
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.version != 1 {
        let error = format!("version {} is of another sluice", kept.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut restored = 0;
    for one in kept.identities {
        let until = UNIX_EPOCH.checked_add(Duration::from_millis(one.until));
        let left = until.and_then(|until| until.duration_since(wall).ok());
        let names = one.groups.iter().chain([&one.user]);
        let is_sound = names.map(|name| user_name(name)).all(|name| name.is_ok());
        // A clock that was set back makes nobody stay for longer than anybody was told.
        if let Some(left) = left.filter(|left| !left.is_zero() && *left <= LONGEST)
            && is_sound
        {
            let identity = Identity {
                user: one.user.into(),
                groups: one.groups.into_iter().map(Into::into).collect(),
                source: Source::Address,
            };
            addresses.tell(one.address, identity, (now, left));
            restored += 1;
        }
    }
    Ok(restored)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Writes what was told, soon after it was.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    /// What [`Addresses::changes`] said when it was written last.
    saved: u64,
    last: Option<Instant>,
    saving: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Restores what a daemon before wrote into a state directory, and goes on from there.
    #[must_use]
    pub fn new(state_dir: &Path, addresses: &Addresses) -> Self {
        let path = state_dir.join(FILE);
        match restore(&path, addresses, (Instant::now(), SystemTime::now())) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "know again who has which address"),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot read who had which address: nobody is known");
            }
        }
        Self {
            path,
            saved: addresses.changes(),
            last: None,
            saving: None,
        }
    }

    /// Has it written on a thread of its own, where there is something new and the last time is long
    /// enough ago.
    pub fn beat(&mut self, shared: &Arc<Shared>) {
        let rests = self.last.is_some_and(|last| last.elapsed() < PAUSE);
        let saves = self.saving.as_ref().is_some_and(|one| !one.is_finished());
        if !rests && !saves {
            self.begin(shared);
        }
    }

    /// Waits until everything is written.
    pub async fn finish(&mut self, shared: &Arc<Shared>) {
        for _ in 0..2 {
            if let Some(saving) = self.saving.take() {
                // A thread that panicked writes no more either.
                let _ = saving.await;
            }
            self.begin(shared);
        }
    }

    fn begin(&mut self, shared: &Arc<Shared>) {
        let changes = shared.addresses.changes();
        if changes == self.saved {
            return;
        }
        self.saved = changes;
        self.last = Some(Instant::now());
        let (path, shared) = (self.path.clone(), Arc::clone(shared));
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let times = (Instant::now(), SystemTime::now());
            if let Err(error) = save(&path, &shared.addresses, times) {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot write who has which address");
            }
        }));
    }
}
