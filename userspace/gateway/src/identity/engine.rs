//! Where passwords are checked: a thread of its own with a runtime, beside the workers, and a bounded
//! number of threads for hashing.

use std::future::Future;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};

/// Checks of hashes that may wait for a thread, for each that has one.
const WAITING: usize = 32;

/// The thread ends when the last who holds the engine lets go.
#[derive(Debug)]
pub(super) struct Engine {
    handle: Handle,
    /// Its end is the end of the thread.
    _stop: oneshot::Sender<()>,
    /// Who computes.
    hashing: Arc<Semaphore>,
    /// Who computes or waits for it.
    admitted: Arc<Semaphore>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system gives no thread or no event queue.
    pub(super) fn start() -> anyhow::Result<Arc<Self>> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // The rest is for the flows.
        let hashing = (cores / 2).max(1);
        let runtime = Builder::new_current_thread()
            .enable_all()
            // The lookup of a directory's name takes one, too.
            .max_blocking_threads(hashing + 2)
            .thread_name("identity-hash")
            .build()
            .context("cannot start the runtime of [identity]")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("identity".into())
            .spawn(move || {
                // An error is the sender's end, which is what is waited for.
                let _ended = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .context("cannot start the thread of [identity]")?;
        Ok(Arc::new(Self {
            handle,
            _stop: stop,
            hashing: Arc::new(Semaphore::new(hashing)),
            admitted: Arc::new(Semaphore::new(hashing * (1 + WAITING))),
        }))
    }

    /// Has a future run to its end, whoever waits for it.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    /// Runs what keeps a core busy; `None` where too much of it waits already.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _admitted = Arc::clone(&self.admitted).try_acquire_owned().ok()?;
        let turn = Arc::clone(&self.hashing).acquire_owned().await.ok()?;
        let job = self.handle.spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        job.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_turned_away() {
        let engine = Engine::start().unwrap();
        let places = engine.admitted.available_permits();
        let turns = engine.hashing.available_permits();
        let gate = Arc::new(Barrier::new(turns + 1));
        let (sender, results) = mpsc::channel();
        for number in 0..places {
            let (engine_of, gate, sender) =
                (Arc::clone(&engine), Arc::clone(&gate), sender.clone());
            engine.spawn(async move {
                let done = engine_of
                    .compute(move || {
                        if number < turns {
                            gate.wait();
                        }
                    })
                    .await;
                sender.send(done.is_some()).unwrap();
            });
        }
        while engine.admitted.available_permits() > 0 {
            thread::yield_now();
        }
        let (engine_of, sender_of) = (Arc::clone(&engine), sender.clone());
        engine.spawn(async move {
            let done = engine_of.compute(|| ()).await;
            sender_of.send(done.is_some()).unwrap();
        });
        assert!(!results.recv().unwrap(), "there was no place left");
        gate.wait();
        drop(sender);
        assert_eq!(results.iter().filter(|&done| done).count(), places);
    }
}
