//! All set-ups in turn, beside what they cannot be without: one handshake as a server, one as a
//! client and, for a new name, one leaf.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use sluice_bench::stats::Summary;
use sluice_mint::{Fingerprint, LeafName, LeafRequest, Origin, OriginCertificate};

use super::{
    bare::Bare,
    stage::{Gateway, Kind, Speech, UNLIMITED, thread_time},
};

/// Rounds that count. Odd, so that the median is a figure that was measured.
const ROUNDS: usize = 21;

/// Connections, handshakes or leaves of each contender in a round.
const TIMES: usize = 50;

/// Makes so many leaves; the processor time for all of them.
pub(super) fn mint(gateway: &Gateway, times: u64) -> Duration {
    let generation = gateway.shared.current.get();
    let leaves = generation.means.leaves.as_ref().expect("a CA");
    let begin = thread_time();
    for number in 0..times {
        let request = LeafRequest {
            client: IpAddr::from(Ipv4Addr::LOCALHOST),
            name: LeafName::parse(&format!("n{number}.origin.example")).expect("a name"),
            origin: Origin::Accepted(OriginCertificate {
                fingerprint: Fingerprint([1; 32]),
                not_before: 0,
                not_after: i64::from(u32::MAX),
            }),
        };
        leaves.minter.mint(&request).expect("a leaf");
    }
    thread_time() - begin
}

#[derive(Clone, Copy)]
enum Work {
    Server(Speech),
    Client(Speech),
    ResumedServer,
    ResumedClient,
    Mint,
    Flow(Kind),
}

/// What handshakes a set-up is compared with.
struct Against {
    title: &'static str,
    parts: Vec<usize>,
}

/// What is measured, and what it took in each round.
struct Contender {
    title: String,
    work: Work,
    against: Vec<Against>,
    took: Vec<f64>,
    /// What the end of a connection took.
    ended: Vec<f64>,
}

struct Bench {
    gateway: Gateway,
    bare: Vec<Bare>,
    resuming: Bare,
}

impl Bench {
    /// What a round takes, and what the ends of connections take that it made.
    fn round(&mut self, work: Work) -> (Duration, Option<Duration>) {
        let took = match work {
            Work::Server(speech) => shake(speech.of(&self.bare)).0,
            Work::Client(speech) => shake(speech.of(&self.bare)).1,
            Work::ResumedServer => shake(&self.resuming).0,
            Work::ResumedClient => shake(&self.resuming).1,
            Work::Mint => mint(&self.gateway, TIMES as u64),
            Work::Flow(kind) => {
                let took = self.gateway.serve(kind, TIMES);
                return (took.up, Some(took.down));
            }
        };
        (took, None)
    }
}

fn shake(bare: &Bare) -> (Duration, Duration) {
    (0..TIMES).fold(Default::default(), |(server, client), _| {
        let (one, other) = bare.shake();
        (server + one, client + other)
    })
}

/// All of them, in the order of the table.
fn contenders() -> Vec<Contender> {
    let mut all = Vec::new();
    let mut add = |title: String, work, against| {
        all.push(Contender {
            title,
            work,
            against,
            took: Vec::new(),
            ended: Vec::new(),
        });
        all.len() - 1
    };
    let leaf = add("a leaf, minted".to_owned(), Work::Mint, vec![]);
    let bare = |add: &mut dyn FnMut(String, Work, Vec<Against>) -> usize, speech| {
        let word = word(speech);
        let server = format!("{word}: a server's handshake");
        let client = format!("{word}: a client's handshake");
        [
            add(server, Work::Server(speech), vec![]),
            add(client, Work::Client(speech), vec![]),
        ]
    };
    let both = Speech::ALL.map(|speech| bare(&mut add, speech));
    let resumed = [
        add(
            format!("{}: a server's handshake, resumed", word(Speech::Hybrid)),
            Work::ResumedServer,
            vec![],
        ),
        add(
            format!("{}: a client's handshake, resumed", word(Speech::Hybrid)),
            Work::ResumedClient,
            vec![],
        ),
    ];
    for (speech, own) in Speech::ALL.iter().zip(&both) {
        let mut against = vec![Against {
            title: "the same",
            parts: own.to_vec(),
        }];
        if *speech == Speech::Hybrid {
            against.push(Against {
                title: "rustls' order of suites",
                parts: Speech::HybridDefaults.of(&both).to_vec(),
            });
            against.push(Against {
                title: "rustls' defaults",
                parts: Speech::Defaults.of(&both).to_vec(),
            });
        }
        let with_leaf = against.iter().map(|against| Against {
            title: against.title,
            parts: [&[leaf], against.parts.as_slice()].concat(),
        });
        let with_leaf = with_leaf.collect();
        let word = word(*speech);
        let (warm, cold) = (Kind::Warm(*speech), Kind::Cold(*speech));
        add(format!("{word}: intercepted"), Work::Flow(warm), against);
        let title = format!("{word}: intercepted, a new name");
        add(title, Work::Flow(cold), with_leaf);
    }
    add(
        format!("{}: intercepted, both legs resumed", word(Speech::Hybrid)),
        Work::Flow(Kind::Resumed),
        vec![Against {
            title: "the same, resumed",
            parts: resumed.to_vec(),
        }],
    );
    add("spliced".to_owned(), Work::Flow(Kind::Spliced), vec![]);
    all
}

const fn word(speech: Speech) -> &'static str {
    match speech {
        Speech::Hybrid => "X25519MLKEM768",
        Speech::HybridDefaults => "X25519MLKEM768, rustls' order of suites",
        Speech::Classic => "X25519",
        Speech::Defaults => "rustls' defaults (X25519)",
        Speech::Tls12 => "TLS 1.2, X25519",
    }
}

pub(super) fn run() {
    let gateway = Gateway::start(UNLIMITED);
    let mut bench = Bench {
        bare: Speech::ALL
            .map(|speech| Bare::new(&gateway.pki, speech))
            .into(),
        resuming: Bare::resuming(&gateway.pki, Speech::Hybrid),
        gateway,
    };
    let mut contenders = contenders();
    // The first round warms up and does not count.
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let (took, ended) = bench.round(contender.work);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let each = |took: Duration| took.as_secs_f64() / TIMES as f64;
            if round > 0 {
                contender.took.push(each(took));
                contender.ended.extend(ended.map(each));
            }
        }
    }
    print(&contenders);
}

fn print(contenders: &[Contender]) {
    println!("| set-up | µs | its end, µs | to the handshakes alone |\n|---|---|---|---|");
    for contender in contenders {
        let each = Summary::of(contender.took.iter().copied()).expect("rounds");
        let ratios = contender.against.iter().map(|against| {
            let base = |round| -> f64 {
                let parts = against.parts.iter();
                let took = |part: &usize| contenders.get(*part)?.took.get(round).copied();
                parts.filter_map(took).sum()
            };
            let took = contender.took.iter().enumerate();
            let ratio = Summary::of(took.map(|(round, own)| own / base(round)));
            format!("{}: {}", against.title, ratio.expect("rounds"))
        });
        let ended = Summary::of(contender.ended.iter().copied());
        let ended = ended.map(|ended| format!("{:.1}", ended.scaled(1e6)));
        println!(
            "| {} | {:.1} | {} | {} |",
            contender.title,
            each.scaled(1e6),
            ended.unwrap_or_default(),
            ratios.collect::<Vec<_>>().join("; ")
        );
    }
}
