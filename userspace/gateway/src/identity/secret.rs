//! What must not be shown, kept or logged.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Bytes that a file with a password may have.
const FILE_LIMIT: u64 = 4096;

/// A password, cleared from memory when the last who holds it lets go. It cannot be printed.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a text.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(Arc::new(text))
    }

    /// Reads the first line of a file that only its owner can read.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, and the cure: it cannot be read, is no regular file, is open to
    /// others, too large, not UTF-8, or its first line is empty.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot be read: {error}");
        let file = OpenOptions::new()
            .read(true)
            // A pipe in place of the file must not hold the daemon up.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(cannot)?;
        let found = file.metadata().map_err(cannot)?;
        if !found.is_file() {
            return Err("not a regular file".into());
        }
        // systemd gives a service its credentials by an access list, which shows as the group's
        // right to read (systemd.exec(5), `LoadCredential=`).
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let is_credential = credentials.is_some_and(|directory| path.starts_with(directory));
        let others = if is_credential { 0o037 } else { 0o077 };
        let mode = found.mode() & 0o7777;
        if mode & others != 0 {
            return Err(format!(
                "others can read it (mode {mode:o}): `chmod 600` it, and change the password if \
                 somebody may have read it"
            ));
        }
        // Sized before, so that growing leaves no copy behind.
        let most = usize::try_from(FILE_LIMIT).unwrap_or_default();
        let mut text = Zeroizing::new(String::with_capacity(most + 1));
        file.take(FILE_LIMIT + 1)
            .read_to_string(&mut text)
            .map_err(cannot)?;
        if text.len() > most {
            return Err(format!("larger than {FILE_LIMIT} bytes"));
        }
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err("the first line is empty: write the password there".into());
        }
        Ok(Self::new(Zeroizing::new(line.to_owned())))
    }

    /// The text, for whoever checks it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// In constant time, but for the length.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (self.reveal().as_bytes(), other.reveal().as_bytes());
        aws_lc_rs::constant_time::verify_slices_are_equal(one, two).is_ok()
    }
}

impl Eq for Secret {}
