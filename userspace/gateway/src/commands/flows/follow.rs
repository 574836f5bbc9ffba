//! Reads a file of lines that grows, is moved away and made anew.

use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Bytes of a line. A record has at most 60 KiB, and what is longer is none.
const LINE: usize = 256 << 10;

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// How long a file that was moved away is read on: whoever writes opens the new one a little later.
const GRACE: Duration = Duration::from_secs(10);

/// Lines out of pieces.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
    /// Whether the line was too long, and what is left of it is passed over.
    skips: bool,
}

impl Lines {
    /// Takes a piece, and hands over every line that it ends.
    pub(super) fn take(&mut self, mut piece: &[u8], lines: &mut Vec<Vec<u8>>) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = piece.split_at_checked(end).unwrap_or((piece, b""));
            piece = behind.get(1..).unwrap_or_default();
            self.keep(line);
            let line = std::mem::take(&mut self.rest);
            if !std::mem::take(&mut self.skips) && !line.trim_ascii().is_empty() {
                lines.push(line);
            }
        }
        self.keep(piece);
    }

    /// What stands behind the last end of a line, once nothing will follow.
    pub(super) fn finish(&mut self, lines: &mut Vec<Vec<u8>>) {
        self.take(b"\n", lines);
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.skips || self.rest.len() + piece.len() > LINE {
            self.skips = true;
            self.rest = Vec::new();
        } else {
            self.rest.extend_from_slice(piece);
        }
    }
}

/// One file that is open.
#[derive(Debug)]
struct Opened {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    position: u64,
    lines: Lines,
}

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            identity: (found.dev(), found.ino()),
            file,
            position: 0,
            lines: Lines::default(),
        })
    }

    /// Reads one piece, if there is one.
    fn read(&mut self, lines: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        let mut piece = vec![0; CHUNK];
        let count = self.file.read(&mut piece)?;
        self.position += count as u64;
        self.lines
            .take(piece.get(..count).unwrap_or_default(), lines);
        Ok(count > 0)
    }

    /// Begins anew where the file has become shorter than what was read of it.
    fn notice_truncation(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.position {
            self.file.seek(SeekFrom::Start(0))?;
            self.position = 0;
            self.lines = Lines::default();
        }
        Ok(())
    }
}

/// A file by its name, whichever file that is.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    now: Option<Opened>,
    before: Option<(Opened, Instant)>,
}

impl Follower {
    /// Begins at the beginning of a file.
    ///
    /// # Errors
    ///
    /// It cannot be opened; one that is not there yet is waited for where it is followed.
    pub(super) fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let now = match Opened::open(path) {
            Ok(opened) => Some(opened),
            Err(error) if follow && error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            now,
            before: None,
        })
    }

    /// Whether there is a file of that name.
    pub(super) const fn is_there(&self) -> bool {
        self.now.is_some()
    }

    /// Goes to the last so many bytes of the file, to the beginning of a line.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn skip_to_last(&mut self, bytes: u64) -> io::Result<()> {
        let Some(opened) = &mut self.now else {
            return Ok(());
        };
        let length = opened.file.metadata()?.len();
        let Some(start) = length.checked_sub(bytes).filter(|start| *start > 0) else {
            return Ok(());
        };
        opened.position = opened.file.seek(SeekFrom::Start(start))?;
        opened.lines.skips = true;
        Ok(())
    }

    /// Hands over the lines of the next piece; `false`: there is none now.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn read(&mut self, lines: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        if let Some((before, _)) = &mut self.before
            && before.read(lines)?
        {
            return Ok(true);
        }
        match &mut self.now {
            Some(now) => now.read(lines),
            None => Ok(false),
        }
    }

    /// What is left when nothing more is read.
    pub(super) fn finish(&mut self, lines: &mut Vec<Vec<u8>>) {
        if let Some(now) = &mut self.now {
            now.lines.finish(lines);
        }
    }

    /// Looks whether another file has the name now; to be called when there was nothing to read.
    ///
    /// # Errors
    ///
    /// The file that is read cannot be looked at.
    pub(super) fn look(&mut self, now: Instant, lines: &mut Vec<Vec<u8>>) -> io::Result<()> {
        if let Some((mut before, _)) = self
            .before
            .take_if(|(_, since)| now.saturating_duration_since(*since) >= GRACE)
        {
            before.lines.finish(lines);
        }
        if let Some(opened) = &mut self.now {
            opened.notice_truncation()?;
        }
        let Ok(found) = fs::metadata(&self.path) else {
            return Ok(());
        };
        let identity = (found.dev(), found.ino());
        if self
            .now
            .as_ref()
            .is_some_and(|now| now.identity == identity)
        {
            return Ok(());
        }
        // It may be gone again by now, or not for this user: then the next look finds out.
        let Ok(opened) = Opened::open(&self.path) else {
            return Ok(());
        };
        if let Some(before) = self.now.replace(opened)
            && let Some((mut older, _)) = self.before.replace((before, now))
        {
            older.lines.finish(lines);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Log {
        folder: tempfile::TempDir,
        follower: Follower,
    }

    impl Log {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let follower = Follower::open(&folder.path().join("log"), true).unwrap();
            Self { folder, follower }
        }

        fn append(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            let mut file = File::options()
                .append(true)
                .create(true)
                .open(path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            let at = |name: &str| self.folder.path().join(name);
            fs::rename(at(from), at(to)).unwrap();
        }

        fn lines_at(&mut self, now: Instant) -> Vec<String> {
            let mut lines = Vec::new();
            while self.follower.read(&mut lines).unwrap() {}
            self.follower.look(now, &mut lines).unwrap();
            while self.follower.read(&mut lines).unwrap() {}
            let text = lines
                .into_iter()
                .map(|line| String::from_utf8(line).unwrap());
            text.collect()
        }

        fn lines(&mut self) -> Vec<String> {
            self.lines_at(Instant::now())
        }
    }

    #[test]
    fn a_line_is_handed_over_when_it_has_ended() {
        let mut log = Log::new();
        assert!(!log.follower.is_there());
        assert!(log.lines().is_empty());
        log.append("log", "one\n\ntw");
        assert_eq!(log.lines(), ["one"]);
        log.append("log", "o\nthree\n");
        assert_eq!(log.lines(), ["two", "three"]);
    }

    #[test]
    fn a_file_that_is_moved_away_is_read_to_its_end() {
        let mut log = Log::new();
        log.append("log", "one\n");
        assert_eq!(log.lines(), ["one"]);
        log.append("log", "two\n");
        log.rename("log", "log.1");
        assert_eq!(log.lines(), ["two"]);
        // The new file is there before the writer leaves the old one.
        log.append("log", "four\n");
        assert_eq!(log.lines(), ["four"]);
        log.append("log.1", "three\nhal");
        assert_eq!(log.lines(), ["three"]);
        log.append("log.1", "f");
        assert_eq!(log.lines_at(Instant::now() + 2 * GRACE), ["half"]);
    }

    #[test]
    fn a_file_that_is_emptied_is_read_anew() {
        let mut log = Log::new();
        log.append("log", "one\ntwo\n");
        assert_eq!(log.lines().len(), 2);
        fs::write(log.folder.path().join("log"), "new\n").unwrap();
        assert_eq!(log.lines(), ["new"]);
    }

    #[test]
    fn the_end_begins_with_a_whole_line() {
        let mut log = Log::new();
        log.append("log", "first line\nsecond\nthird\n");
        let path = log.folder.path().join("log");
        log.follower = Follower::open(&path, true).unwrap();
        log.follower.skip_to_last(15).unwrap();
        assert_eq!(log.lines(), ["second", "third"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_room_than_a_record() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for _ in 0..10 {
            lines.take(&vec![b'x'; LINE / 2], &mut found);
            assert!(lines.rest.len() <= LINE);
        }
        lines.take(b"\nshort\n", &mut found);
        assert_eq!(found, [b"short"]);
    }
}
