//! The pipes of one worker thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// Largest length that one splice(2) is asked for; some kernels refuse lengths near `usize::MAX`.
const SPLICE_MAX: usize = 1 << 20;

/// Loans that are answered with a copy, without asking the kernel, after it refused a pipe.
const REFUSALS_REMEMBERED: u32 = 256;

/// How many pipes of which size a pool makes and keeps.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Bytes that an ordinary pipe holds; a page at least.
    pub ordinary: usize,
    /// Bytes that the pipe of a bulk flow holds.
    pub bulk: usize,
    /// Returned pipes of each size that are kept open.
    pub keep: usize,
    /// Pipes lent at one time; 0 makes every flow copy.
    pub limit: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            ordinary: 64 << 10,
            bulk: 1 << 20,
            keep: 32,
            limit: 2048,
        }
    }
}

/// Which pipe a direction asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Size {
    /// For flows that have moved little.
    Ordinary,
    /// For flows that have moved enough to be worth the memory.
    Bulk,
}

/// What a pool has done and holds, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Pipes out with flows.
    pub lent: usize,
    /// Pipes kept open for the next loan.
    pub kept: usize,
    /// Pipes made since the start.
    pub created: u64,
    /// Loans refused for want of descriptors, quota or the pool's own limit: those bytes are copied.
    pub refused: u64,
    /// Bytes moved by splice(2).
    pub spliced: u64,
    /// Bytes moved by copying.
    pub copied: u64,
}

#[derive(Debug, Default)]
struct Shelves {
    ordinary: Vec<Pipe>,
    bulk: Vec<Pipe>,
}

impl Shelves {
    fn of(&mut self, size: Size) -> &mut Vec<Pipe> {
        match size {
            Size::Ordinary => &mut self.ordinary,
            Size::Bulk => &mut self.bulk,
        }
    }
}

/// Pipes that flows borrow while their bytes move.
///
/// One per worker thread: the lock inside is there for metrics and is never contended by flows.
#[derive(Debug)]
pub struct PipePool {
    options: PoolOptions,
    shelves: Mutex<Shelves>,
    lent: AtomicUsize,
    /// What is on the shelves, written by whoever holds them.
    kept: AtomicUsize,
    created: AtomicU64,
    refused: AtomicU64,
    spliced: AtomicU64,
    copied: AtomicU64,
    cool_down: AtomicU32,
    bulk_cool_down: AtomicU32,
}

impl PipePool {
    /// A pool without pipes: they are made when first asked for.
    #[must_use]
    pub fn new(options: PoolOptions) -> Self {
        Self {
            options,
            shelves: Mutex::default(),
            lent: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            created: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            spliced: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            cool_down: AtomicU32::new(0),
            bulk_cool_down: AtomicU32::new(0),
        }
    }

    /// What the pool has done and holds at this moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        // Whoever asks must not keep a flow waiting for the shelves.
        Counters {
            lent: self.lent.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
            created: self.created.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            spliced: self.spliced.load(Ordering::Relaxed),
            copied: self.copied.load(Ordering::Relaxed),
        }
    }

    /// Lends an empty pipe, or `None` where there is none to be had: the caller copies then.
    ///
    /// A bulk pipe that the kernel refuses is replaced by an ordinary one.
    pub(crate) fn lend(&self, size: Size) -> Option<Lent<'_>> {
        if self.lent.load(Ordering::Relaxed) >= self.options.limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let lent = match size {
            Size::Bulk => self.take(Size::Bulk).or_else(|| self.take(Size::Ordinary)),
            Size::Ordinary => self.take(Size::Ordinary),
        };
        match &lent {
            Some(_) => self.lent.fetch_add(1, Ordering::Relaxed),
            None => self.refused.fetch_add(1, Ordering::Relaxed) as usize,
        };
        lent
    }

    fn take(&self, size: Size) -> Option<Lent<'_>> {
        let kept = {
            let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = shelves.of(size).pop();
            self.note_kept(&shelves);
            kept
        };
        let pipe = match kept {
            Some(pipe) => pipe,
            None => self.make(size)?,
        };
        Some(Lent {
            pool: self,
            size,
            pipe: Some(pipe),
        })
    }

    /// A new pipe. After a refusal the kernel is left alone for a while, because a flow asks again
    /// with every burst.
    fn make(&self, size: Size) -> Option<Pipe> {
        let (cool_down, capacity) = match size {
            Size::Ordinary => (&self.cool_down, self.options.ordinary),
            Size::Bulk => (&self.bulk_cool_down, self.options.bulk),
        };
        let left = cool_down.load(Ordering::Relaxed);
        if left > 0 {
            cool_down.store(left - 1, Ordering::Relaxed);
            return None;
        }
        if let Ok(pipe) = Pipe::new(capacity) {
            self.created.fetch_add(1, Ordering::Relaxed);
            return Some(pipe);
        }
        cool_down.store(REFUSALS_REMEMBERED, Ordering::Relaxed);
        None
    }

    fn give_back(&self, size: Size, pipe: Pipe) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
        // A pipe that still holds bytes would give them to the next flow.
        if pipe.held > 0 {
            return;
        }
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.of(size);
        if shelf.len() < self.options.keep {
            shelf.push(pipe);
        }
        self.note_kept(&shelves);
    }

    fn note_kept(&self, shelves: &Shelves) {
        let kept = shelves.ordinary.len() + shelves.bulk.len();
        self.kept.store(kept, Ordering::Relaxed);
    }

    pub(crate) fn count_spliced(&self, bytes: u64) {
        self.spliced.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_copied(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A pipe and how many bytes are in it.
#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// A pipe that holds at least `capacity` bytes.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` without descriptors; `EPERM` where the user's pipe quota gives less
    /// than `capacity`: such a pipe would be slower than copying.
    fn new(capacity: usize) -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        if fcntl_getpipe_size(&write)? != capacity {
            fcntl_setpipe_size(&write, capacity)?;
        }
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }
}

/// A pipe on loan. It goes back when dropped, and is closed instead where bytes are left in it.
#[derive(Debug)]
pub(crate) struct Lent<'p> {
    pool: &'p PipePool,
    size: Size,
    pipe: Option<Pipe>,
}

impl Lent<'_> {
    /// Bytes that went in and have not come out.
    pub(crate) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held)
    }

    /// Fills the empty pipe from a socket; 0 is the end of the stream.
    ///
    /// Only ever called on an empty pipe: then `EAGAIN` can only mean that the socket is empty,
    /// and never that small segments have used up the pipe's slots.
    pub(crate) fn fill(&mut self, from: impl AsFd) -> Result<usize, Errno> {
        let Some(pipe) = self.pipe.as_mut() else {
            return Err(Errno::PIPE);
        };
        debug_assert_eq!(pipe.held, 0);
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let bytes = retry(|| splice(from.as_fd(), None, &pipe.write, None, SPLICE_MAX, flags))?;
        pipe.held = bytes;
        Ok(bytes)
    }

    /// Empties the pipe into a socket as far as the socket takes it.
    ///
    /// `SPLICE_F_MORE` is never given: whether more will come is not known when the pipe is
    /// drained, and a wrong guess holds the last segment back.
    pub(crate) fn drain(&mut self, to: impl AsFd) -> Result<usize, Errno> {
        let Some(pipe) = self.pipe.as_mut() else {
            return Err(Errno::PIPE);
        };
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let bytes = retry(|| splice(&pipe.read, None, to.as_fd(), None, pipe.held, flags))?;
        pipe.held = pipe.held.saturating_sub(bytes);
        Ok(bytes)
    }

    /// Whether the flow should hand this pipe in for a larger one at its next turn.
    pub(crate) fn outgrown(&self) -> bool {
        self.size == Size::Ordinary && self.held() == 0
    }

    /// Takes the bytes out of the pipe into memory, for a socket that cannot be spliced to.
    pub(crate) fn take_out(&mut self) -> Result<Vec<u8>, Errno> {
        let Some(pipe) = self.pipe.as_mut() else {
            return Err(Errno::PIPE);
        };
        let mut bytes = vec![0; pipe.held];
        while pipe.held > 0 {
            let start = bytes.len() - pipe.held;
            let Some(rest) = bytes.get_mut(start..) else {
                break;
            };
            let read = retry(|| rustix::io::read(&pipe.read, &mut *rest))?;
            if read == 0 {
                return Err(Errno::PIPE);
            }
            pipe.held = pipe.held.saturating_sub(read);
        }
        Ok(bytes)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pool.give_back(self.size, pipe);
        }
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (here, listener.accept().unwrap().0)
    }

    #[test]
    fn a_returned_pipe_is_lent_again() {
        let pool = PipePool::new(PoolOptions::default());
        drop(pool.lend(Size::Bulk).unwrap());
        drop(pool.lend(Size::Bulk).unwrap());
        let counters = pool.counters();
        assert_eq!((counters.created, counters.kept, counters.lent), (1, 1, 0));
    }

    #[test]
    fn a_pipe_with_bytes_left_is_never_lent_again() {
        let pool = PipePool::new(PoolOptions::default());
        let (mut near, far) = pair();
        near.write_all(b"left over").unwrap();
        let mut lent = pool.lend(Size::Ordinary).unwrap();
        while lent.fill(&far).is_err() {}
        assert_eq!(lent.held(), 9);
        drop(lent);
        assert_eq!((pool.counters().kept, pool.counters().lent), (0, 0));
    }

    #[test]
    fn what_goes_into_a_pipe_comes_out() {
        let pool = PipePool::new(PoolOptions {
            ordinary: 4096,
            ..PoolOptions::default()
        });
        let (mut near, far) = pair();
        near.write_all(b"some bytes").unwrap();
        let mut lent = pool.lend(Size::Ordinary).unwrap();
        while lent.fill(&far).is_err() {}
        assert_eq!(lent.drain(&far).unwrap(), 10);
        assert_eq!(lent.held(), 0);
        let mut answer = [0; 10];
        near.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"some bytes");

        near.write_all(b"more").unwrap();
        while lent.fill(&far).is_err() {}
        assert_eq!(lent.take_out().unwrap(), b"more");
        drop(lent);
        assert_eq!(pool.counters().kept, 1);
    }

    #[test]
    fn a_pool_lends_and_keeps_no_more_than_it_may() {
        let pool = PipePool::new(PoolOptions {
            limit: 2,
            keep: 1,
            ..PoolOptions::default()
        });
        let first = pool.lend(Size::Ordinary).unwrap();
        let second = pool.lend(Size::Ordinary).unwrap();
        assert!(pool.lend(Size::Bulk).is_none());
        drop((first, second));
        let counters = pool.counters();
        assert_eq!((counters.kept, counters.refused), (1, 1));
    }
}
