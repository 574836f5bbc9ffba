//! How long a client waits for its set-ups while others ask for ever new names: ten thousand in a
//! minute, all from one client, and from as many that nobody is over its limit.
//!
//! The limits are those that hold by default. In turn: nobody asks; one does; many do. What is
//! measured is the time from the SYN to the end of the client's handshake, on whatever the processors
//! have left besides the gateway: hostile clients and the origin need theirs on the same machine.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use sluice_bench::stats::{Summary, quantile};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::stage::{Gateway, Speech, client, read_to_end, server_name};

/// New names of one kind of flood, in all.
const NAMES: usize = 10_000;
/// The time that they take in all.
const MINUTE: Duration = Duration::from_secs(60);
/// Rounds, among which names and time are divided.
const ROUNDS: usize = 20;
/// Hostile clients where they are many.
const MANY: usize = 1000;
/// Between two set-ups of those who are not hostile.
const PAUSE: Duration = Duration::from_millis(4);
/// Set-ups before the first round, which make all buffers and caches as large as they get.
const WARM_UP: Duration = Duration::from_secs(2);

/// Who asks for new names.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Hostile {
    Nobody,
    One,
    Many,
}

impl Hostile {
    const ALL: [Self; 3] = [Self::Nobody, Self::One, Self::Many];

    const fn title(self) -> &'static str {
        match self {
            Self::Nobody => "nobody asks",
            Self::One => "one client asks",
            Self::Many => "a thousand clients ask",
        }
    }

    /// Where the client of a new name connects from; no address is one of others.
    fn address(self, number: usize) -> Ipv4Addr {
        let host = match self {
            Self::Nobody | Self::One => 0,
            Self::Many => 1 + number % MANY,
        };
        let host = u32::try_from(host).unwrap_or(0);
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 9, 0, 1).to_bits() + host)
    }
}

/// Who is not hostile: a hundred clients in turn, so that none runs out of ports, which the kernel
/// would search for ever longer.
fn other(number: usize) -> Ipv4Addr {
    let host = u32::try_from(number % 100).unwrap_or(0);
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 8, 0, 1).to_bits() + host)
}

/// Clients of one gateway.
#[derive(Clone)]
struct Clients {
    gateway: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Clients {
    async fn connect(&self, from: Ipv4Addr, name: String) -> Option<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address");
        let stream = socket.connect(self.gateway).await.expect("a gateway");
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(server_name(name), stream).await.ok()
    }

    /// One set-up after another for a time; how long each took, in nanoseconds.
    fn wait(&self, length: Duration) -> Vec<u64> {
        let begun = Instant::now();
        let mut times = Vec::new();
        runtime().block_on(async {
            while begun.elapsed() < length {
                let begin = Instant::now();
                let name = "www.origin.example".to_owned();
                let stream = self.connect(other(times.len()), name).await;
                times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
                end(stream.expect("whoever is not hostile is served")).await;
                sleep(PAUSE).await;
            }
        });
        times
    }

    /// Asks for a round's share of names, each at its time; how many were met with a leaf.
    fn flood(&self, hostile: Hostile, first: usize) -> usize {
        const EACH: u32 = (NAMES / ROUNDS) as u32;
        runtime().block_on(async {
            let mut ticks = interval(MINUTE / u32::try_from(NAMES).unwrap_or(u32::MAX));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut asking = JoinSet::new();
            for number in first..first + EACH as usize {
                ticks.tick().await;
                let (clients, from) = (self.clone(), hostile.address(number));
                asking.spawn(async move {
                    let name = format!("n{number}.origin.example");
                    let Some(stream) = clients.connect(from, name).await else {
                        return 0;
                    };
                    end(stream).await;
                    1
                });
            }
            asking.join_all().await.into_iter().sum()
        })
    }
}

async fn end(mut stream: TlsStream<TcpStream>) {
    // A gateway that is gone already needs no farewell.
    let _ = stream.shutdown().await;
    read_to_end(&mut stream).await;
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Bytes of memory that the process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("memory") * 1024
}

/// What a kind of flood came to.
#[derive(Default)]
struct Told {
    /// Quantiles of each round, in microseconds.
    p50: Vec<f64>,
    p99: Vec<f64>,
    asked: usize,
    met: usize,
    grown: u64,
}

pub(super) fn run() {
    // As it is by default.
    let gateway = Gateway::start("");
    let clients = Clients {
        gateway: gateway.address,
        config: client(Speech::Hybrid, &gateway.ca, false),
    };
    let (stop, stopped) = oneshot::channel();
    let asking = thread::spawn(move || {
        clients.wait(WARM_UP);
        let mut told = [Told::default(), Told::default(), Told::default()];
        for round in 0..ROUNDS {
            for (hostile, told) in Hostile::ALL.into_iter().zip(&mut told) {
                measure(&clients, hostile, round, told);
            }
        }
        // Whoever serves waits.
        let _ = stop.send(());
        told
    });
    gateway.serve_all(stopped);
    let told = asking.join().expect("clients");
    print(&told);
    let generation = gateway.shared.current.get();
    let leaves = generation.means.leaves.as_ref().expect("a CA");
    println!("\n{:?}", leaves.minter.counts());
}

fn measure(clients: &Clients, hostile: Hostile, round: usize, told: &mut Told) {
    let length = MINUTE / u32::try_from(ROUNDS).unwrap_or(u32::MAX);
    let before = resident();
    let mut times = thread::scope(|scope| {
        let flood = (hostile != Hostile::Nobody).then(|| {
            // No name is asked for twice.
            let kind = if hostile == Hostile::Many { NAMES } else { 0 };
            let first = kind + round * (NAMES / ROUNDS);
            scope.spawn(move || clients.flood(hostile, first))
        });
        let times = clients.wait(length);
        if let Some(flood) = flood {
            told.asked += NAMES / ROUNDS;
            told.met += flood.join().expect("hostile clients");
        }
        times
    });
    told.grown += resident().saturating_sub(before);
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a second")]
    let microseconds = |share| quantile(&times, share).expect("a set-up") as f64 / 1e3;
    told.p50.push(microseconds(0.5));
    told.p99.push(microseconds(0.99));
}

fn print(told: &[Told; 3]) {
    let [quiet, ..] = told;
    println!(
        "| new names | p50 µs | to nobody asking | p99 µs | to nobody asking | asked | met with a \
         leaf | memory more |\n|---|---|---|---|---|---|---|---|"
    );
    for (hostile, told) in Hostile::ALL.into_iter().zip(told) {
        let summary = |times: &[f64]| Summary::of(times.iter().copied()).expect("rounds");
        let ratio = |own: &[f64], base: &[f64]| {
            let ratios = own.iter().zip(base).map(|(own, base)| own / base);
            Summary::of(ratios).expect("rounds")
        };
        println!(
            "| {} | {:.0} | {} | {:.0} | {} | {} | {} | {} KiB |",
            hostile.title(),
            summary(&told.p50),
            ratio(&told.p50, &quiet.p50),
            summary(&told.p99),
            ratio(&told.p99, &quiet.p99),
            told.asked,
            told.met,
            told.grown / 1024,
        );
    }
}
