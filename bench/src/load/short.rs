//! Short flows: connect, through a tunnel where the plan says so, say hello, take the answer, close.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read as _, Write as _},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
};
use socket2::Socket;

use super::{
    result::{Setup, Short},
    route::{self, Answer, Route},
    socket::{self, Source},
    wire::{self, ANSWER, Wish},
};
use crate::{
    proc::{Moment, Watched},
    stats::quantile,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the flows lead.
    pub route: Route,
    /// Where the flows come from.
    pub source: Arc<Source>,
    /// Flows at once, over all threads.
    pub concurrent: usize,
    /// Threads that carry them.
    pub threads: usize,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Length of the measurement.
    pub length: Duration,
}

#[derive(Default)]
struct Count {
    whole: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

/// Runs short flows, always as many at once as the plan says.
///
/// # Errors
///
/// No flow got its answer, or the machine has no sockets left.
pub fn run(plan: &Plan, watched: &[Watched]) -> Result<Short> {
    let count = Arc::new(Count::default());
    let threads = plan.threads.clamp(1, plan.concurrent.max(1));
    let mut running = Vec::new();
    for at in 0..threads {
        let share = plan.concurrent / threads + usize::from(at < plan.concurrent % threads);
        let mut client = Client::new(plan, count.clone())?;
        running.push(
            thread::Builder::new()
                .name("short".to_owned())
                .spawn(move || client.run(share))?,
        );
    }
    thread::sleep(plan.warm_up);
    let whole = || count.whole.load(Ordering::Relaxed);
    let (from, start, first) = (Moment::now(watched)?, Instant::now(), whole());
    thread::sleep(plan.length);
    let (last, seconds) = (whole(), start.elapsed().as_secs_f64());
    let cpu = from.until(&Moment::now(watched)?, watched);
    count.stop.store(true, Ordering::Relaxed);
    for thread in running {
        if let Ok(result) = thread.join() {
            result?;
        }
    }
    let flows = last - first;
    if flows == 0 {
        bail!("no short flow got its answer");
    }
    #[expect(clippy::cast_precision_loss, reason = "flows of a minute at most")]
    let flows_per_second = flows as f64 / seconds;
    Ok(Short {
        concurrent: plan.concurrent,
        seconds,
        flows,
        flows_per_second,
        failed: count.failed.load(Ordering::Relaxed),
        cpu,
    })
}

/// One flow after another, each measured from its SYN to the end of the answer.
///
/// # Errors
///
/// A flow failed.
pub fn setup(plan: &Plan, watched: &[Watched]) -> Result<Setup> {
    let opening = wire::opening(Wish::Answer);
    let warm = Instant::now();
    while warm.elapsed() < plan.warm_up {
        once(plan, &opening)?;
    }
    let mut times = Vec::new();
    let (from, start) = (Moment::now(watched)?, Instant::now());
    while start.elapsed() < plan.length {
        let begun = Instant::now();
        once(plan, &opening)?;
        times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let cpu = from.until(&Moment::now(watched)?, watched);
    times.sort_unstable();
    let microseconds = |share| {
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
        quantile(&times, share).map(|nanoseconds| nanoseconds as f64 / 1e3)
    };
    Ok(Setup {
        flows: times.len(),
        p50_us: microseconds(0.5).context("no flow in the time given")?,
        p99_us: microseconds(0.99).context("no flow in the time given")?,
        cpu,
    })
}

fn once(plan: &Plan, opening: &[u8]) -> Result<()> {
    let mut socket = plan.route.connect(&plan.source)?;
    socket.write_all(opening).context("saying hello")?;
    let mut answer = [0; ANSWER];
    socket.read_exact(&mut answer).context("the answer")?;
    Ok(())
}

struct Flow {
    socket: Socket,
    stage: Stage,
    heard: usize,
}

/// What a flow waits for.
enum Stage {
    /// The connection.
    Dialled,
    /// The proxy's answer, of which this came.
    Asked(Vec<u8>),
    /// The sink's answer.
    Said,
}

/// How a flow stands after it was looked at.
enum Step {
    Goes,
    Whole,
    Failed,
}

struct Client {
    route: Route,
    source: Arc<Source>,
    count: Arc<Count>,
    epoll: OwnedFd,
    /// What a proxy is asked first.
    request: Option<Vec<u8>>,
    opening: Vec<u8>,
    flows: HashMap<u64, Flow>,
}

impl Client {
    fn new(plan: &Plan, count: Arc<Count>) -> Result<Self> {
        Ok(Self {
            route: plan.route,
            source: plan.source.clone(),
            count,
            epoll: epoll::create(CreateFlags::CLOEXEC).context("an epoll set")?,
            request: plan.route.request(),
            opening: wire::opening(Wish::Answer),
            flows: HashMap::new(),
        })
    }

    fn run(&mut self, concurrent: usize) -> Result<()> {
        for _ in 0..concurrent {
            self.begin()?;
        }
        let mut events = Vec::with_capacity(256);
        // The flag to stop is looked at even where nothing happens any more.
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        while !self.count.stop.load(Ordering::Relaxed) {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.context("waiting for flows")?,
            };
            for event in events.drain(..) {
                let data = event.data;
                self.advance(data.u64())?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let socket = socket::begin_connect(self.route.first(), &self.source)
            .context("a short flow did not begin")?;
        let key = u64::from(socket.as_raw_fd().unsigned_abs());
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(key),
            EventFlags::IN | EventFlags::OUT | EventFlags::ET,
        )?;
        let flow = Flow {
            socket,
            stage: Stage::Dialled,
            heard: 0,
        };
        self.flows.insert(key, flow);
        Ok(())
    }

    fn advance(&mut self, key: u64) -> Result<()> {
        let Some(flow) = self.flows.get_mut(&key) else {
            return Ok(());
        };
        let counter = match step(flow, self.request.as_deref(), &self.opening) {
            Ok(Step::Goes) => return Ok(()),
            Ok(Step::Whole) => &self.count.whole,
            Ok(Step::Failed) | Err(_) => &self.count.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.flows.remove(&key);
        self.begin()
    }
}

fn step(flow: &mut Flow, request: Option<&[u8]>, opening: &[u8]) -> io::Result<Step> {
    let mut buffer = [0; ANSWER + 1];
    loop {
        let said = match (&mut flow.stage, request) {
            (Stage::Dialled, Some(request)) => flow.socket.write(request).map(|length| {
                flow.stage = Stage::Asked(Vec::new());
                length == request.len()
            }),
            (Stage::Dialled, None) => flow.say(opening),
            (Stage::Asked(head), _) => match flow.socket.read(&mut buffer) {
                Ok(length) => {
                    head.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    match route::answer(head) {
                        Answer::Partly => Ok(length > 0),
                        Answer::Open => flow.say(opening),
                        Answer::Refused => Ok(false),
                    }
                }
                Err(error) => Err(error),
            },
            (Stage::Said, _) => match flow.socket.read(&mut buffer) {
                Ok(0) if flow.heard == ANSWER => return Ok(Step::Whole),
                Ok(length) => {
                    flow.heard += length;
                    Ok(length > 0)
                }
                Err(error) => Err(error),
            },
        };
        match said {
            Ok(true) => {}
            Ok(false) => return Ok(Step::Failed),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Goes),
            Err(error) => return Err(error),
        }
    }
}

impl Flow {
    /// Says hello to the sink; whether all of it was taken.
    fn say(&mut self, opening: &[u8]) -> io::Result<bool> {
        let length = self.socket.write(opening)?;
        self.stage = Stage::Said;
        Ok(length == opening.len())
    }
}
