//! The thread of a sink: takes what waits, delivers it, and tries again where that fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::queue::{Batch, Order, Queue, State};

/// Time between attempts, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Somewhere that records are delivered to.
pub(super) trait Deliver: Send {
    /// Delivers from the front, and takes away what was delivered. Returns now and then also where
    /// nothing moves, with [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    ///
    /// The system's. What is left is delivered again, whole.
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()>;

    /// Opens it anew, where that means something.
    ///
    /// # Errors
    ///
    /// The system's; what was open stays open then.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves a sink until its queue is closed and empty.
pub(super) fn run(queue: &Queue, name: &str, mut sink: Box<dyn Deliver>) {
    let mut batch = Batch::default();
    let mut pause = PAUSES.0;
    loop {
        let Order { reopen, until } = queue.take(&mut batch);
        if reopen && let Err(error) = sink.reopen() {
            queue.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(sink = name, %error, "cannot be opened anew: the old one is kept");
        }
        let over = until.is_some_and(|until| Instant::now() >= until);
        if (until.is_some() && batch.is_empty()) || over {
            break;
        }
        let delivered = if batch.is_empty() {
            Ok(())
        } else {
            sink.deliver(&mut batch)
        };
        queue.settle(&mut batch);
        match delivered {
            Ok(()) => {
                if queue.state() == State::Failing {
                    tracing::info!(sink = name, "access records are written again");
                }
                queue.set_state(State::Ok);
                pause = PAUSES.0;
            }
            // One that failed is not well before it has taken something.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if queue.state() == State::Ok {
                    queue.set_state(State::Stalled);
                }
            }
            Err(error) => {
                queue.errors.fetch_add(1, Ordering::Relaxed);
                if queue.state() != State::Failing {
                    tracing::error!(sink = name, %error, "cannot write access records");
                }
                queue.set_state(State::Failing);
                if until.is_some() {
                    // The end is told, so that nobody wakes this thread from a long sleep.
                    std::thread::sleep(PAUSES.0);
                } else {
                    queue.pause(pause);
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    queue.end(&batch);
}

/// Starts the thread of a sink.
///
/// # Errors
///
/// The system's.
pub(super) fn start(queue: Arc<Queue>, name: String, sink: Box<dyn Deliver>) -> io::Result<()> {
    std::thread::Builder::new()
        .name("records".into())
        .spawn(move || run(&queue, &name, sink))
        .map(drop)
}
