//! The daemon's main thread.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_policy::kernel::KernelPolicy;
use sluice_splice::{ListenOptions, bind};
use sluice_steer::{KernelLog, StartOptions, Steering};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::admin::{self, gate::Gate};
use super::export::Sources;
use super::generation::Generation;
use super::guard::{Guard, Own};
use super::log_level;
use super::metrics::WorkerMetrics;
use super::packets;
use super::record::AccessLog;
use super::reload::{Loaded, load};
use super::worker::{Listening, Phase, Shared, Worker};
use crate::config::{Config, Proxy};
use crate::identity::kept::Keeper;
use crate::kernel_state::start_options;

/// The programs take the daemon for dead after a few of these.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Open files that flows leave to everything else.
const SPARE_FILES: u64 = 128;

/// Runs the daemon until it is told to end.
///
/// # Errors
///
/// The configuration has mistakes, the machine cannot run sluice, or a socket cannot be opened.
/// Once flows are accepted, only a worker that cannot go on is an error.
pub fn run(file: &Path, log: KernelLog) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let files = raise_file_limit();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("cannot start the runtime")?;
    runtime.block_on(serve(file, config, files, log))
}

async fn serve(file: &Path, config: Config, files: u64, log: KernelLog) -> anyhow::Result<()> {
    // Asked for first: a signal from here on is an order and not the end.
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let workers = worker_count(&config);
    // A CA or roots that cannot be used keep the gate as it is.
    let generation = Generation::new(1, &config)?;
    // Whoever may not own the kernel side is refused before it has a listener: one that shares a
    // running daemon's address would be given some of its flows.
    let options = StartOptions {
        log,
        ..start_options(&config)?
    };
    let steering = Steering::start(&options).await?;
    let sockets = listeners(&config, workers)?;
    let mut doors = proxies(&config, workers)?.into_iter();
    let gate = Gate::new(&config.admin)?;
    let questions = admin::open(&config.admin.listen).context("cannot open the admin sockets")?;

    let shared = Arc::new(shared(&config, generation, files)?);
    shared.guard.set_own(Own::of_machine());
    let keeper = Keeper::new(&config.gateway.state_dir, &shared.addresses);
    let metrics: Vec<_> = (0..workers)
        .map(|_| Arc::new(WorkerMetrics::default()))
        .collect();
    let sources = Sources {
        shared: Arc::clone(&shared),
        workers: metrics.clone(),
        steering: Some(steering.clone()),
        reloads: Arc::default(),
    };
    let questions = Questions::answer(gate, questions, &sources)?;

    shared.access.keep_recent(config.recent());
    let (phase, phases) = watch::channel(Phase::Serving);
    if let Some((v4, v6)) = sockets.first() {
        steering.set_listeners(v4, v6.as_ref())?;
    }
    let mut crew = Crew::default();
    for (number, ((v4, v6), metrics)) in sockets.into_iter().zip(&metrics).enumerate() {
        let worker = (Arc::clone(&shared), Arc::clone(metrics));
        let sockets = [Some(v4), v6].into_iter().flatten().map(Listening::from);
        let sockets = sockets.chain(doors.next().unwrap_or_default()).collect();
        crew.hire(number, worker, sockets, phases.clone())?;
    }
    steering.heartbeat()?;
    let watcher = steering.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = watcher.watch().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot watch the devices"
            );
        }
    });
    // Read also where nobody wants to be told: a ring that nobody empties loses events for good,
    // and what is lost is to mean that something is amiss.
    tokio::task::spawn_local(packets::tell(
        steering.clone(),
        Arc::clone(&shared),
        phases.clone(),
    ));
    shared.ready.store(true, Ordering::Relaxed);
    tracing::info!(workers, generation = shared.current.number(), "serving");

    let mut daemon = Daemon {
        file,
        config: Arc::new(config),
        sources,
        steering,
        phase,
        questions,
        keeper,
    };
    let ended = daemon.watch_over(&mut signals, &crew).await;
    daemon.drain(&mut signals, crew).await;
    shared.access.close();
    ended
}

struct Daemon<'a> {
    file: &'a Path,
    config: Arc<Config>,
    sources: Sources,
    steering: Steering,
    phase: watch::Sender<Phase>,
    questions: Questions,
    keeper: Keeper,
}

impl Daemon<'_> {
    /// Looks after everything until the daemon is told to end.
    async fn watch_over(&mut self, signals: &mut Signals, crew: &Crew) -> anyhow::Result<()> {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loading: Option<Loading> = None;
        let mut again = false;
        loop {
            tokio::select! {
                _ = beat.tick() => self.beat(crew)?,
                loaded = ended(&mut loading) => {
                    loading = None;
                    self.put_in_force(loaded);
                    if std::mem::take(&mut again) {
                        loading = Some(self.load());
                    }
                }
                order = signals.next() => match order {
                    // What is being read may have been read before the change that is meant now.
                    Order::Reload if loading.is_some() => again = true,
                    Order::Reload => loading = Some(self.load()),
                    Order::Reopen => self.sources.shared.access.reopen(),
                    Order::End => return Ok(()),
                },
            }
        }
    }

    /// Begins to read the configuration on a thread of its own, so that long lists hold up neither
    /// flows nor the sign of life.
    fn load(&self) -> Loading {
        let (file, before) = (self.file.to_owned(), Arc::clone(&self.config));
        let shared = Arc::clone(&self.sources.shared);
        tokio::task::spawn_blocking(move || load(&file, &before, &shared))
    }

    /// Tells the programs that the daemon lives, where that is true of every worker.
    fn beat(&mut self, crew: &Crew) -> anyhow::Result<()> {
        anyhow::ensure!(!crew.misses_somebody(), "a worker thread has ended");
        self.sources.shared.guard.set_own(Own::of_machine());
        self.keeper.beat(&self.sources.shared);
        log_level::beat(Instant::now());
        if !admin::is_alive(&self.sources) {
            tracing::error!("a worker hangs: the programs are told nothing");
            return Ok(());
        }
        if let Err(error) = self.steering.heartbeat() {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "cannot tell the programs that the daemon lives");
        }
        Ok(())
    }

    fn put_in_force(&mut self, loaded: anyhow::Result<Loaded>) {
        let shared = &self.sources.shared;
        let reloads = &self.sources.reloads;
        let publish = |policy: &KernelPolicy| self.steering.publish(policy);
        match loaded.and_then(|loaded| loaded.put_in_force(shared, publish)) {
            Ok(config) => {
                self.config = Arc::new(config);
                reloads.note_taken();
                tracing::info!(generation = shared.current.number(), "reloaded");
            }
            Err(error) => {
                reloads.note_refused();
                let generation = shared.current.number();
                tracing::error!(generation, "keeping the policy in force: {error:#}");
            }
        }
    }

    /// Accepts no more, and lets flows end until the deadline or a second signal.
    ///
    /// As soon as no listener is open, a successor may take the kernel side and the admin
    /// addresses over: the flows that are left need neither.
    async fn drain(mut self, signals: &mut Signals, crew: Crew) {
        self.sources.shared.ready.store(false, Ordering::Relaxed);
        let patience = self.config.gateway.drain_timeout;
        let active = self.sources.shared.limits.active();
        tracing::info!(active, seconds = patience.as_secs_f64(), "draining");
        self.phase.send_replace(Phase::Draining);
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        let mut look = interval(Duration::from_millis(20));
        let mut released = false;
        while !crew.is_done() {
            if !released && self.sources.accepts_no_more() && self.questions.end() {
                self.keeper.finish(&self.sources.shared).await;
                self.steering.release();
                released = true;
                tracing::info!("a successor may start");
            }
            tokio::select! {
                _ = look.tick() => {}
                () = &mut deadline => break,
                order = signals.next() => match order {
                    Order::End => break,
                    Order::Reopen => self.sources.shared.access.reopen(),
                    Order::Reload => {}
                },
            }
        }
        if !released {
            self.keeper.finish(&self.sources.shared).await;
        }
        self.steering.release();
        let left = self.sources.shared.limits.active();
        if left > 0 {
            tracing::warn!(left, "cutting off the flows that are left");
        }
        self.phase.send_replace(Phase::Ending);
        let farewell = tokio::task::spawn_blocking(move || crew.part());
        if timeout(Duration::from_secs(5), farewell).await.is_err() {
            tracing::error!("a worker does not end");
        }
    }
}

/// A configuration that is being read.
type Loading = tokio::task::JoinHandle<anyhow::Result<Loaded>>;

/// Waits until a configuration was read, if one is.
async fn ended(loading: &mut Option<Loading>) -> anyhow::Result<Loaded> {
    match loading {
        Some(loading) => loading.await.context("reading the configuration failed")?,
        None => std::future::pending().await,
    }
}

/// What signals tell the daemon to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Reload,
    Reopen,
    End,
}

struct Signals {
    reload: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::End,
            _ = self.interrupt.recv() => Order::End,
            _ = self.reload.recv() => Order::Reload,
            _ = self.reopen.recv() => Order::Reopen,
        }
    }
}

/// The worker threads.
#[derive(Default)]
struct Crew(Vec<JoinHandle<io::Result<()>>>);

impl Crew {
    fn hire(
        &mut self,
        number: usize,
        (shared, metrics): (Arc<Shared>, Arc<WorkerMetrics>),
        sockets: Vec<Listening>,
        phases: watch::Receiver<Phase>,
    ) -> anyhow::Result<()> {
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || Worker::new(shared, metrics).run(sockets, phases))
            .context("cannot start a worker thread")?;
        self.0.push(thread);
        Ok(())
    }

    fn misses_somebody(&self) -> bool {
        self.0.iter().any(JoinHandle::is_finished)
    }

    fn is_done(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    fn part(self) {
        for thread in self.0 {
            if !matches!(thread.join(), Ok(Ok(()))) {
                tracing::error!("a worker thread failed");
            }
        }
    }
}

fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.gateway.workers.unwrap_or_else(cores)
}

/// The listeners of every worker; IPv6 only where the machine has it.
fn listeners(
    config: &Config,
    workers: usize,
) -> anyhow::Result<Vec<(TcpListener, Option<TcpListener>)>> {
    let options = ListenOptions {
        mark: config.gateway.marks.own,
        ..ListenOptions::default()
    };
    let port = config.gateway.listener_port;
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    (0..workers)
        .map(|_| {
            let v4 = bind(v4, &options).with_context(|| format!("cannot listen on {v4}"))?;
            let v6 = has_v6
                .then(|| bind(v6, &options).with_context(|| format!("cannot listen on {v6}")))
                .transpose()?;
            Ok((v4, v6))
        })
        .collect()
}

/// The sockets of the proxy listeners, of every worker.
fn proxies(config: &Config, workers: usize) -> anyhow::Result<Vec<Vec<Listening>>> {
    let options = ListenOptions {
        transparent: false,
        ..ListenOptions::default()
    };
    let open = |proxy: &Proxy| -> anyhow::Result<Vec<Listening>> {
        let name: Arc<str> = Arc::from(&*proxy.name);
        let sockets = proxy.listen.iter().map(|&address| {
            let socket = bind(address, &options);
            let socket = socket.with_context(|| {
                format!("[[proxy]] \"{name}\" cannot listen on {address}: is it an address of this machine?")
            });
            Ok(Listening::proxy(socket?, Arc::clone(&name)))
        });
        sockets.collect()
    };
    (0..workers)
        .map(|_| {
            let all: Vec<_> = config.proxies.iter().map(open).collect::<Result<_, _>>()?;
            Ok(all.into_iter().flatten().collect())
        })
        .collect()
}

fn shared(config: &Config, generation: Generation, files: u64) -> anyhow::Result<Shared> {
    let guard = Guard::new(config.gateway.listener_port);
    guard.set(config.guard.clone());
    // Two sockets and, while bytes move, a pipe each way.
    let capacity = files.saturating_sub(SPARE_FILES) / 3;
    Ok(Shared {
        mark: config.gateway.marks.own,
        capacity: usize::try_from(capacity).unwrap_or(usize::MAX).max(1),
        ..Shared::new(generation, guard, AccessLog::open(&config.log)?)?
    })
}

/// The thread that answers on the admin addresses, until it is told to end.
struct Questions {
    until: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

impl Questions {
    fn answer(gate: Gate, sockets: Vec<admin::Socket>, sources: &Sources) -> anyhow::Result<Self> {
        let sources = sources.clone();
        let (until, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || {
                if let Err(error) = admin::serve_behind(gate, sockets, sources, ended) {
                    tracing::error!(%error, "metrics and health are not served");
                }
            })
            .context("cannot start the admin thread")?;
        Ok(Self {
            until: Some(until),
            thread,
        })
    }

    /// Tells the thread to end, and says whether its addresses are free.
    fn end(&mut self) -> bool {
        drop(self.until.take());
        self.thread.is_finished()
    }
}

/// Raises the limit of open files to what is allowed, and returns it.
fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    now.unwrap_or(u64::MAX)
}
