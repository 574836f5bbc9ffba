//! A file that records are appended to, line by whole line.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::queue::Batch;
use super::super::writer::Deliver;
use crate::config::Rotation;

/// Mode of a file that is made: nobody but the daemon's user and group reads who went where.
const MODE: u32 = 0o640;

/// When the file is begun anew; may change at any time.
#[derive(Debug, Default)]
pub(in super::super) struct Settings {
    /// 0: never.
    size: AtomicU64,
    keep: AtomicU32,
}

impl Settings {
    pub(in super::super) fn set(&self, rotation: Rotation) {
        self.size
            .store(rotation.size.unwrap_or_default(), Ordering::Relaxed);
        self.keep.store(rotation.keep, Ordering::Relaxed);
    }
}

/// The file.
pub(super) struct File {
    path: PathBuf,
    settings: Arc<Settings>,
    file: fs::File,
    size: u64,
    /// Whether half a line is at the end, which could not be taken back.
    torn: bool,
    /// The size at which moving the file aside failed.
    stuck: u64,
}

impl File {
    /// Opens the file at its end, and makes it where there is none.
    pub(super) fn open(path: PathBuf, settings: Arc<Settings>) -> io::Result<Self> {
        let (file, size, torn) = open(&path)?;
        Ok(Self {
            path,
            settings,
            file,
            size,
            torn,
            stuck: 0,
        })
    }

    /// Moves the file aside and begins a new one, where the next line would be too much for this one.
    /// What fails is told, and costs no record: the file goes on.
    fn rotate(&mut self, line: usize) {
        let most = self.settings.size.load(Ordering::Relaxed);
        let next = self.size + line as u64;
        if most == 0 || next <= most || self.size == 0 || self.size < self.stuck {
            return;
        }
        let keep = self.settings.keep.load(Ordering::Relaxed).max(1);
        let moved = shift(&self.path, keep).and_then(|()| open(&self.path));
        match moved {
            Ok((file, size, torn)) => {
                (self.file, self.size, self.torn) = (file, size, torn);
                self.stuck = 0;
            }
            Err(error) => {
                // Not with every line.
                self.stuck = self.size + most;
                let path = self.path.display();
                tracing::error!(%error, "cannot begin {path} anew: it goes on beyond its size");
            }
        }
    }

    /// Appends a line, or leaves the file as it was.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
            self.size += 1;
        }
        let mut written = 0;
        while let Some(rest) = line.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return self.take_back(written, io::ErrorKind::WriteZero.into()),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.take_back(written, error),
            }
        }
        self.size += line.len() as u64;
        Ok(())
    }

    /// Takes back the beginning of a line whose end the disk has no room for.
    fn take_back(&mut self, written: usize, error: io::Error) -> io::Result<()> {
        if written > 0 {
            let whole = self
                .file
                .metadata()
                .map(|found| found.len().saturating_sub(written as u64));
            let cut = whole.and_then(|whole| self.file.set_len(whole));
            self.torn = cut.is_err();
        }
        Err(error)
    }
}

impl Deliver for File {
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()> {
        while let Some(entry) = batch.front() {
            let line = entry.line.clone();
            self.rotate(line.len());
            self.append(&line)?;
            batch.delivered();
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size, self.torn) = open(&self.path)?;
        self.stuck = 0;
        Ok(())
    }
}

/// The file at its end, its size, and whether it ends within a line.
fn open(path: &Path) -> io::Result<(fs::File, u64, bool)> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        // A FIFO without a reader would hold the daemon up; a link could lead anywhere.
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => io::Error::new(
                error.kind(),
                "its directory does not exist: make it, for the daemon's user to write to",
            ),
            Some(Errno::LOOP) => io::Error::other("is a link: name the file itself"),
            _ => error,
        })?;
    let found = file.metadata()?;
    if !found.is_file() {
        let kind = if found.file_type().is_fifo() {
            "a FIFO"
        } else {
            "no regular file"
        };
        return Err(io::Error::other(format!(
            "is {kind}: name a file, or send records through standard output"
        )));
    }
    let size = found.len();
    let mut torn = false;
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
        torn = last != *b"\n";
    }
    Ok((file, size, torn))
}

/// Moves the files on by one place, the oldest out of the way.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    let place = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..keep).rev() {
        match fs::rename(place(number), place(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match fs::rename(path, place(1)) {
        // Somebody else has moved it already.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::entry;
    use super::*;

    fn sink(path: &Path, size: u64, keep: u32) -> File {
        let settings = Settings::from(Rotation {
            size: Some(size).filter(|size| *size > 0),
            keep,
        });
        File::open(path.to_owned(), Arc::new(settings)).unwrap()
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_made_for_few_and_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        sink(&path, 0, 1)
            .deliver(&mut Batch::of([entry("1"), entry("2")]))
            .unwrap();
        sink(&path, 0, 1)
            .deliver(&mut Batch::of([entry("3")]))
            .unwrap();
        assert_eq!(read(&path), "1\n2\n3\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
    }

    #[test]
    fn half_a_line_of_a_crash_is_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        fs::write(&path, "{\"half").unwrap();
        sink(&path, 0, 1)
            .deliver(&mut Batch::of([entry("{}")]))
            .unwrap();
        assert_eq!(read(&path), "{\"half\n{}\n");
    }

    #[test]
    fn what_cannot_be_taken_back_is_ended_and_what_can_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        let mut sink = sink(&path, 0, 1);
        sink.append(b"whole\n").unwrap();
        // As after a write that took four bytes of a line.
        sink.file.write_all(b"half").unwrap();
        let kept = sink.take_back(4, io::ErrorKind::StorageFull.into());
        assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!sink.torn);
        sink.append(b"next\n").unwrap();
        assert_eq!(read(&path), "whole\nnext\n");
    }

    #[test]
    fn files_move_on_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        let place = |number: u32| folder.path().join(format!("access.jsonl.{number}"));
        let mut sink = sink(&path, 10, 2);
        for line in ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg"] {
            sink.deliver(&mut Batch::of([entry(line)])).unwrap();
        }
        assert_eq!(read(&path), "gggg\n");
        assert_eq!(read(&place(1)), "eeee\nffff\n");
        assert_eq!(read(&place(2)), "cccc\ndddd\n");
        assert!(!place(3).exists());
        // A line that is larger than the size has a file of its own.
        sink.deliver(&mut Batch::of([entry("a very long line")]))
            .unwrap();
        assert_eq!(read(&path), "a very long line\n");
    }

    #[test]
    fn a_file_that_cannot_move_aside_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        fs::create_dir(folder.path().join("access.jsonl.1")).unwrap();
        let mut sink = sink(&path, 10, 1);
        for line in ["aaaa", "bbbb", "cccc", "dddd"] {
            sink.deliver(&mut Batch::of([entry(line)])).unwrap();
        }
        assert_eq!(read(&path), "aaaa\nbbbb\ncccc\ndddd\n");
    }

    #[test]
    fn one_that_was_moved_aside_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        let aside = folder.path().join("aside");
        let mut sink = sink(&path, 0, 1);
        sink.deliver(&mut Batch::of([entry("1")])).unwrap();
        fs::rename(&path, &aside).unwrap();
        sink.deliver(&mut Batch::of([entry("2")])).unwrap();
        sink.reopen().unwrap();
        sink.deliver(&mut Batch::of([entry("3")])).unwrap();
        assert_eq!((read(&aside), read(&path)), ("1\n2\n".into(), "3\n".into()));
        // Where it cannot be, the old one goes on.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(sink.reopen().is_err());
        sink.deliver(&mut Batch::of([entry("4")])).unwrap();
    }

    #[test]
    fn links_fifos_and_devices_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| File::open(path.to_owned(), Arc::default()).map(drop);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(open(&link).unwrap_err().to_string().contains("a link"));
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        assert!(open(&fifo).unwrap_err().to_string().contains("FIFO"));
        assert!(open(Path::new("/dev/null")).is_err());
    }
}
