//! What others need for the part of a decision that is a look-up of names.
//!
//! Every contender is asked for the same names, in turn, in rounds within one process; a ratio is taken
//! within its round, to one look-up of the whole name in a hash set of the same size. What each finds
//! is checked.
#![expect(
    clippy::expect_used,
    reason = "a contender that cannot be made leaves nothing to compare"
)]

use std::{
    collections::HashSet,
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use adblock::{
    Engine,
    lists::{FilterFormat, FilterSet, ParseOptions},
    request::Request,
};
use aho_corasick::AhoCorasick;
use sluice_bench::stats::Summary;
use sluice_guard::rules::{self, Mix, listed};
use sluice_policy::{Decision, Facts, Policy, Scratch};

/// Names that are asked for, all different, half of them in no list.
const FLOWS: usize = 65_536;

/// Rounds of look-ups. Odd, so that the median is a figure that was measured.
const ROUNDS: usize = 21;

/// Rounds of building.
const BUILDS: usize = 9;

/// How often the quick ones ask for all names in a round, so that a round of theirs takes
/// milliseconds.
const QUICK: usize = 4;

const THOUSAND: usize = 1000;
const HUNDRED_THOUSAND: usize = 100_000;
const MILLION: usize = 1_000_000;

/// One way to do something, and how long it took in each round.
struct Contender<'a> {
    title: &'static str,
    /// How often it does it in a round.
    times: usize,
    /// How many things that is each time.
    things: usize,
    /// What it does, and what that comes to.
    work: Box<dyn FnMut() -> usize + 'a>,
    expected: usize,
    took: Vec<Duration>,
}

impl<'a> Contender<'a> {
    /// Looks up all names, and finds half of them.
    fn asked(title: &'static str, work: impl FnMut() -> usize + 'a) -> Self {
        Self {
            title,
            times: 1,
            things: FLOWS,
            work: Box::new(work),
            expected: FLOWS / 2,
            took: Vec::new(),
        }
    }

    /// Makes one thing of so many names.
    fn built(title: &'static str, names: usize, work: impl FnMut() -> usize + 'a) -> Self {
        Self {
            things: 1,
            expected: names,
            ..Self::asked(title, work)
        }
    }

    /// So quick that it does it several times in a round.
    fn quick(self) -> Self {
        Self {
            times: QUICK,
            ..self
        }
    }

    fn round(&mut self) {
        let begin = Instant::now();
        for _ in 0..self.times {
            assert_eq!(black_box((self.work)()), self.expected, "{}", self.title);
        }
        self.took.push(begin.elapsed());
    }

    /// Seconds that one thing took, in each round.
    fn each(&self) -> impl Iterator<Item = f64> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let things = (self.times * self.things) as f64;
        self.took
            .iter()
            .map(move |took| took.as_secs_f64() / things)
    }
}

/// Contenders for the same task, the first of which the others are compared with.
struct Group<'a> {
    title: String,
    contenders: Vec<Contender<'a>>,
}

/// Lets everybody do it, in every round in turn, each round beginning with another group.
fn measure(rounds: usize, groups: &mut [Group<'_>]) {
    // The first warms up and does not count.
    for round in 0..=rounds {
        groups.rotate_left(1);
        for contender in groups.iter_mut().flat_map(|group| &mut group.contenders) {
            contender.round();
            if round == 0 {
                contender.took.clear();
            }
        }
    }
}

fn print(groups: &mut [Group<'_>], unit: &str, per_second: f64) {
    groups.sort_by(|a, b| a.title.cmp(&b.title));
    for Group { title, contenders } in groups {
        println!("\n{title}\n\n| contender | {unit} | ratio |\n|---|---|---|");
        let base: Vec<f64> = contenders
            .first()
            .into_iter()
            .flat_map(Contender::each)
            .collect();
        for contender in contenders {
            let each = Summary::of(contender.each())
                .expect("rounds")
                .scaled(per_second);
            let ratio = contender.each().zip(&base).map(|(own, base)| own / base);
            let ratio = Summary::of(ratio).expect("rounds");
            println!("| {} | {each:.1} | {ratio:.2} |", contender.title);
        }
    }
}

/// Everything that is asked, for lists of one size.
struct Names {
    list: Vec<String>,
    mix: Mix,
}

impl Names {
    fn new(size: usize) -> Self {
        Self {
            list: (0..size).map(listed).collect(),
            mix: Mix::new(FLOWS, size, HUNDRED_THOUSAND),
        }
    }

    fn hosts(&self) -> Vec<&str> {
        self.mix.hosts().collect()
    }

    /// Sluice, and the hash set asked once and for every suffix.
    fn group(&self) -> Group<'_> {
        let size = self.list.len();
        let set: HashSet<&str> = self.list.iter().map(String::as_str).collect();
        let whole = {
            let (set, hosts) = (set.clone(), self.hosts());
            move || count(&hosts, |host| set.contains(host))
        };
        let hosts = self.hosts();
        let suffixes = move || {
            count(&hosts, |host| {
                let below = host
                    .match_indices('.')
                    .filter_map(|(dot, _)| host.get(dot + 1..));
                std::iter::once(host)
                    .chain(below)
                    .any(|name| set.contains(name))
            })
        };
        let policy = policy(&rules::one_list(size).expect("one rule"));
        let (hosts, mut scratch) = (self.hosts(), Scratch::default());
        let mut facts = rules::hello("");
        let decide = move || {
            count(&hosts, |host| {
                facts.host = Some(host);
                blocked(&policy.decide(&facts, &mut scratch))
            })
        };
        Group {
            title: format!("{size:>7} names"),
            contenders: vec![
                Contender::asked("hash set, the whole name", whole).quick(),
                Contender::asked("hash set, every suffix", suffixes).quick(),
                Contender::asked("sluice, one rule", decide).quick(),
            ],
        }
    }
}

/// How many of the names are found.
fn count<'a>(hosts: &[&'a str], mut found: impl FnMut(&'a str) -> bool) -> usize {
    hosts.iter().filter(|host| found(black_box(host))).count()
}

fn policy(set: &sluice_policy::RuleSet) -> Policy {
    Policy::compile(set).expect("rules that compile")
}

fn bytes_a_domain(policy: &Policy) -> usize {
    let (domains, bytes) = policy.domains();
    bytes.checked_div(domains).unwrap_or(0)
}

fn blocked(decision: &Decision) -> bool {
    matches!(decision, Decision::Decided(decided) if decided.cause.rule().is_some())
}

/// A loop over the rules, asked for as many names as one has patience for.
fn loop_over(names: &Names) -> Contender<'_> {
    const FEW: usize = FLOWS / 16;
    let hosts: Vec<&str> = names.mix.hosts().take(FEW).collect();
    let first = |host| names.list.iter().any(|name| name.as_str() == host);
    Contender {
        things: FEW,
        expected: FEW / 2,
        ..Contender::asked("first match in a loop", move || count(&hosts, first))
    }
}

fn aho_corasick(names: &Names) -> Contender<'_> {
    let automaton = AhoCorasick::new(&names.list).expect("an automaton");
    let hosts = names.hosts();
    let work = move || count(&hosts, |host| automaton.is_match(host));
    Contender::asked("aho-corasick", work)
}

/// An engine that blocks these names and the names below them: its hosts format.
fn engine(list: &[String]) -> Engine {
    let mut set = FilterSet::new(false);
    let options = ParseOptions {
        format: FilterFormat::Hosts,
        ..ParseOptions::default()
    };
    set.add_filter_list(list.join("\n"), options);
    Engine::new_with_filter_set(set)
}

fn blocks(engine: &Engine, request: &Request) -> bool {
    engine.check_network_request(request).should_block()
}

fn request(url: &str) -> Request {
    Request::new(url, "", "other", "GET").expect("a request")
}

/// With and without the time that it takes to read the URL.
fn adblock(names: &Names) -> [Contender<'_>; 2] {
    let url = |host| format!("https://{host}/");
    let urls: Vec<String> = names.mix.hosts().map(url).collect();
    let requests: Vec<Request> = urls.iter().map(|url| request(url)).collect();
    let asked = engine(&names.list);
    let whole = move || {
        let blocks = |url: &&String| blocks(&asked, &request(black_box(url)));
        urls.iter().filter(blocks).count()
    };
    let asked = engine(&names.list);
    let read = move || {
        let blocks = |request: &&Request| blocks(&asked, black_box(request));
        requests.iter().filter(blocks).count()
    };
    [
        Contender::asked("adblock", whole),
        Contender::asked("adblock, the URL read before", read),
    ]
}

/// A policy of everything, asked about flows of all stages.
fn large<'a>(policy: &'a Policy, mix: &'a Mix) -> Contender<'a> {
    let flows = mix.facts();
    let mut scratch = Scratch::default();
    // What the slow way comes to: every rule asked by itself.
    let slow = |facts: &&Facts<'_>| blocked(&policy.weigh(facts, &mut scratch));
    let expected = flows.iter().filter(slow).count();
    let mut scratch = Scratch::default();
    let work = move || {
        let decide = |facts: &&Facts<'_>| blocked(&policy.decide(black_box(facts), &mut scratch));
        flows.iter().filter(decide).count()
    };
    Contender {
        expected,
        ..Contender::asked("sluice, 10000 rules, 100000 CIDRs", work).quick()
    }
}

fn look_up() {
    let [few, many, most] = [THOUSAND, HUNDRED_THOUSAND, MILLION].map(Names::new);
    let all = policy(&rules::large(10_000, MILLION, HUNDRED_THOUSAND).expect("a large policy"));
    println!("\n10000 rules: {} bytes a domain", bytes_a_domain(&all));
    let mut groups = [few.group(), many.group(), most.group()];
    let [small, middle, big] = &mut groups;
    small.contenders.push(loop_over(&few));
    middle.contenders.push(aho_corasick(&many));
    middle.contenders.extend(adblock(&many));
    big.contenders.push(large(&all, &most.mix));
    measure(ROUNDS, &mut groups);
    print(&mut groups, "ns a look-up", 1e9);
}

/// Makes ready what look-ups need, of the same names.
fn build() {
    let names = |size| (0..size).map(listed).collect::<Vec<String>>();
    let (many, most) = (names(HUNDRED_THOUSAND), names(MILLION));
    let set = |list: &[String]| list.iter().cloned().collect::<HashSet<String>>().len();
    let sluice = |size| {
        policy(&rules::one_list(size).expect("one rule"))
            .domains()
            .0
    };
    let automaton = || {
        AhoCorasick::new(&many)
            .expect("an automaton")
            .patterns_len()
    };
    let some = request(&format!("https://{}/", listed(7)));
    let engine = || usize::from(blocks(&engine(&many), &some));
    let mut groups = [
        Group {
            title: format!("{HUNDRED_THOUSAND:>7} names, built"),
            contenders: vec![
                Contender::built("hash set", HUNDRED_THOUSAND, || set(&many)),
                Contender::built("sluice", HUNDRED_THOUSAND, || sluice(HUNDRED_THOUSAND)),
                Contender::built("aho-corasick", HUNDRED_THOUSAND, automaton),
                Contender::built("adblock", 1, engine),
            ],
        },
        Group {
            title: format!("{MILLION:>7} names, built"),
            contenders: vec![
                Contender::built("hash set", MILLION, || set(&most)),
                Contender::built("sluice", MILLION, || sluice(MILLION)),
            ],
        },
    ];
    let million = policy(&rules::one_list(MILLION).expect("one rule"));
    println!("one rule: {} bytes a domain", bytes_a_domain(&million));
    measure(BUILDS, &mut groups);
    print(&mut groups, "ms", 1e3);
}

fn main() {
    // Cargo says `--bench`; a word is part of the name of a bench that is asked for.
    let other = |word: String| !word.starts_with('-') && !"peers".contains(&word);
    if env::args().skip(1).any(other) {
        return;
    }
    build();
    look_up();
}
