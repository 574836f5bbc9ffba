//! The files that a configuration names: read once, and known again when it is read anew.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_policy::{LineError, ListData};

use super::{lists::ListKind, read::Item};

/// Mistakes that are told of one file.
const MOST_MISTAKES: usize = 20;

/// The clock that files are stamped with may stand still for so long, so that a change within it
/// leaves the stamp as it was.
const SETTLED: Duration = Duration::from_millis(100);

/// The lists of a configuration, by what they were made of.
///
/// A [`Config`](super::Config) holds on to them: when it is read again, only files that have changed
/// are opened, and the lists that have not are shared by both generations.
#[derive(Clone, Default)]
pub struct Sources(HashMap<Origin, ListData>);

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources({} lists)", self.0.len())
    }
}

/// What a list is made of: the same makes the same list.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Origin {
    pub(super) kind: ListKind,
    pub(super) entries: Vec<String>,
    pub(super) files: Vec<(PathBuf, Stamp)>,
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file as it is now; `None` where there is none to be had.
    pub(super) fn now(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::of(&found))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change after this moment will show in the stamp.
    fn is_settled(&self) -> bool {
        let since = |(seconds, nanos): (i64, i64)| {
            let seconds = u64::try_from(seconds).ok()?;
            Some(Duration::new(seconds, u32::try_from(nanos).ok()?))
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let age = now.zip(since(self.changed));
        age.and_then(|(now, changed)| now.checked_sub(changed))
            .is_some_and(|age| age >= SETTLED)
    }
}

/// Where the files of one reading are looked for, and what is known of them.
pub(super) struct Files<'a> {
    /// The directory that relative paths begin in; `None` where no file may be read.
    pub(super) base: Option<&'a Path>,
    /// What earlier readings left.
    pub(super) before: &'a [&'a Sources],
    pub(super) after: RefCell<Sources>,
}

/// A file that was read.
pub(super) struct Text {
    /// How messages call it.
    name: String,
    pub(super) text: String,
    pub(super) stamp: Stamp,
}

impl Files<'_> {
    /// The path that a text of the configuration means.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let base = self
            .base
            .ok_or("a configuration that is no file itself can name none")?;
        if text.is_empty() || text.contains('\0') {
            return Err("expected the path of a file".into());
        }
        Ok(base.join(text))
    }

    /// Reads the file that a value names; that it cannot be read is noted.
    pub(super) fn read(&self, item: &Item<'_>) -> Option<Text> {
        let path = item.parse(|text| self.path(text))?;
        let name = path.display().to_string();
        let (bytes, stamp) = content(&path)
            .map_err(|error| item.note(format!("{name}: cannot be read: {error}")))
            .ok()?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(Text { name, text, stamp }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = error.as_bytes().get(..valid).unwrap_or_default();
                let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
                item.note_line(
                    &name,
                    line,
                    "expected UTF-8: save the file in that encoding",
                );
                None
            }
        }
    }

    /// The list that the same origin made before.
    pub(super) fn known(&self, origin: &Origin) -> Option<ListData> {
        let mut known = self.before.iter();
        known.find_map(|sources| sources.0.get(origin)).cloned()
    }

    /// Remembers a list for the next reading.
    pub(super) fn keep(&self, origin: Origin, data: ListData) {
        self.after.borrow_mut().0.insert(origin, data);
    }

    /// Remembers a list that was read just now, unless a change of its files might not show.
    pub(super) fn keep_read(&self, origin: Origin, data: ListData) {
        if origin.files.iter().all(|(_, stamp)| stamp.is_settled()) {
            self.keep(origin, data);
        }
    }
}

impl Text {
    /// Reads the lines by `read`, which is given the text, where to put mistakes and how many of
    /// them; they are noted at the value that names the file.
    pub(super) fn lines(
        &self,
        item: &Item<'_>,
        read: impl FnOnce(&str, &mut Vec<LineError>, usize),
    ) {
        let mut errors = Vec::new();
        read(&self.text, &mut errors, MOST_MISTAKES + 1);
        for error in errors.iter().take(MOST_MISTAKES) {
            item.note_line(&self.name, error.line, &error.message);
        }
        if let Some(error) = errors.get(MOST_MISTAKES) {
            item.note_line(&self.name, error.line, "and more from here on");
        }
    }
}

/// What is in a file, and its stamp from before it was read.
fn content(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    // Opening a pipe would wait for its other end, and a device has no end at all.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((bytes, stamp))
}
