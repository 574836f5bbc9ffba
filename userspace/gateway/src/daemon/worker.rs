//! A worker: one thread, one runtime, its own listeners, its own pipes.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_policy::Scratch;
use sluice_splice::original_destination;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::flow::{Arrived, serve};
use super::generation::{Current, Generation};
use super::guard::Guard;
use super::limits::Limits;
use super::metrics::WorkerMetrics;
use super::record::AccessLog;
use crate::identity::addresses::Addresses;
use crate::intercept::Memory;
use crate::proxy::{self, Accepted};

/// How long accepting pauses after it failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Tasks between two looks at the sockets: few, because one turn of a bulk flow is long.
const EVENT_INTERVAL: u32 = 16;

/// How often a worker says that it lives, and looks whether it may end.
const TICK: Duration = Duration::from_millis(500);

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The generation in force.
    pub current: Current,
    /// Flows in all and by client.
    pub limits: Arc<Limits>,
    /// Where no flow may lead.
    pub guard: Guard,
    /// What is remembered over reloads.
    pub memory: Memory,
    /// Who has which address, besides what the policy says.
    pub addresses: Addresses,
    /// Where records go.
    pub access: AccessLog,
    /// Mark on packets to origins; 0: none.
    pub mark: u32,
    /// Flows that the open files allow; at that many accepting pauses.
    pub capacity: usize,
    /// When the daemon began.
    pub began: Instant,
    /// Whether flows are accepted and judged.
    pub ready: AtomicBool,
}

impl Shared {
    /// What a daemon begins with that is not ready yet: it remembers nothing, marks no packets, and
    /// has room for any number of flows.
    ///
    /// # Errors
    ///
    /// The source of random bytes fails.
    pub fn new(generation: Generation, guard: Guard, access: AccessLog) -> anyhow::Result<Self> {
        Ok(Self {
            limits: Arc::default(),
            guard,
            memory: Memory::new()?,
            addresses: Addresses::new(generation.addresses.limit),
            access,
            current: Current::new(generation),
            mark: 0,
            capacity: usize::MAX,
            began: Instant::now(),
            ready: AtomicBool::new(false),
        })
    }

    /// Seconds since the daemon began.
    #[must_use]
    pub fn uptime(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// How far the daemon's end has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Flows are accepted.
    Serving,
    /// No more flows are accepted, and those that are there may end.
    Draining,
    /// What is left is cut off.
    Ending,
}

/// What the flows of one worker thread have in common.
#[derive(Debug)]
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) active: Cell<usize>,
    pub(crate) scratch: RefCell<Scratch>,
    /// The second of the uptime in which the shadow was last spoken of.
    pub(crate) shadow_told: Cell<Option<u64>>,
    generation: RefCell<Arc<Generation>>,
    draining: watch::Sender<bool>,
}

impl Worker {
    /// A worker without flows.
    #[must_use]
    pub fn new(shared: Arc<Shared>, metrics: Arc<WorkerMetrics>) -> Self {
        let generation = RefCell::new(shared.current.get());
        Self {
            shared,
            metrics,
            active: Cell::new(0),
            scratch: RefCell::default(),
            shadow_told: Cell::new(None),
            generation,
            draining: watch::Sender::new(false),
        }
    }

    /// Lets no connection of a client's begin another request.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until no more requests are to begin.
    pub(crate) async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        // A worker that is gone has no flows that ask.
        let _ = draining.wait_for(|is_so| *is_so).await;
    }

    /// Counts what is being served until the guard is dropped.
    pub(crate) fn engage(self: &Rc<Self>) -> Engaged {
        self.active.set(self.active.get() + 1);
        Engaged(Rc::clone(self))
    }

    /// Flows that are being served.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// The generation in force; the shared one is asked only when it has changed.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        let mut mine = self.generation.borrow_mut();
        if mine.number != self.shared.current.number() {
            *mine = self.shared.current.get();
        }
        Arc::clone(&mine)
    }

    /// Accepts and serves until the daemon ends.
    ///
    /// # Errors
    ///
    /// The runtime cannot be made.
    pub fn run(
        self,
        listeners: Vec<impl Into<Listening>>,
        mut phase: watch::Receiver<Phase>,
    ) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build_local(LocalOptions::default())?;
        let worker = Rc::new(self);
        runtime.block_on(async {
            let mut accepting = Vec::new();
            for listener in listeners {
                let Listening { socket, proxy } = listener.into();
                let listener = TcpListener::from_std(socket)?;
                let accept = accept(Rc::clone(&worker), (listener, proxy), phase.clone());
                accepting.push(tokio::task::spawn_local(accept));
            }
            loop {
                worker
                    .metrics
                    .alive
                    .store(worker.shared.uptime(), Ordering::Relaxed);
                let waited = timeout(TICK, phase.changed()).await;
                let (now, lost) = (*phase.borrow_and_update(), matches!(waited, Ok(Err(_))));
                match now {
                    Phase::Serving if lost => return Ok(()),
                    Phase::Serving => {}
                    Phase::Ending => return Ok(()),
                    Phase::Draining => {
                        for task in accepting.drain(..) {
                            // A task that panicked accepts no more either.
                            let _ = task.await;
                        }
                        worker.drain();
                        worker.metrics.closed.store(true, Ordering::Relaxed);
                        if worker.active() == 0 {
                            return Ok(());
                        }
                        if lost {
                            sleep(TICK).await;
                        }
                    }
                }
            }
        })
        // Flows that are left are dropped with the runtime, which resets their connections.
    }
}

/// Something that a worker serves besides flows, which is waited for like them.
#[derive(Debug)]
pub(crate) struct Engaged(Rc<Worker>);

impl Drop for Engaged {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// A socket that a worker accepts connections on.
#[derive(Debug)]
pub struct Listening {
    socket: StdListener,
    /// The name of the proxy listener; `None`: the kernel steers flows to it.
    proxy: Option<Arc<str>>,
}

impl Listening {
    /// The socket of a proxy listener.
    #[must_use]
    pub const fn proxy(socket: StdListener, name: Arc<str>) -> Self {
        Self {
            socket,
            proxy: Some(name),
        }
    }
}

impl From<StdListener> for Listening {
    fn from(socket: StdListener) -> Self {
        Self {
            socket,
            proxy: None,
        }
    }
}

/// Accepts flows until the daemon drains; then those that wait already, and no more.
async fn accept(
    worker: Rc<Worker>,
    (listener, proxy): (TcpListener, Option<Arc<str>>),
    mut phase: watch::Receiver<Phase>,
) {
    let begin = |worker: &Rc<Worker>, stream, client| match &proxy {
        None => begin(worker, stream, client),
        Some(listener) => begin_proxied(
            worker,
            Accepted {
                stream,
                client,
                listener: Arc::clone(listener),
            },
        ),
    };
    loop {
        if *phase.borrow() != Phase::Serving {
            break;
        }
        if worker.shared.limits.active() >= worker.shared.capacity {
            worker.metrics.accept_pauses.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE).await;
            continue;
        }
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            changed = phase.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
        };
        if let Err(error) = accepted.map(|(stream, client)| begin(&worker, stream, client)) {
            pause_after(&worker, &error).await;
        }
    }
    while let Ok(Ok((stream, client))) = timeout(Duration::ZERO, listener.accept()).await {
        begin(&worker, stream, client);
    }
}

fn begin(worker: &Rc<Worker>, stream: tokio::net::TcpStream, client: std::net::SocketAddr) {
    // A client that is gone before it is looked at has no destination any more.
    let Ok(destination) = original_destination(&stream) else {
        return;
    };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        serve(
            &worker,
            Arrived {
                stream,
                client,
                destination,
            },
        )
        .await;
    });
}

fn begin_proxied(worker: &Rc<Worker>, accepted: Accepted) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move { proxy::serve(&worker, accepted).await });
}

/// A failure of the connection concerns nobody else; one of the machine would come again at once.
async fn pause_after(worker: &Worker, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        return;
    }
    let pauses = worker.metrics.accept_pauses.fetch_add(1, Ordering::Relaxed);
    if pauses.is_power_of_two() || pauses == 0 {
        tracing::warn!(%error, pauses = pauses + 1, "cannot accept; pausing");
    }
    sleep(PAUSE).await;
}
