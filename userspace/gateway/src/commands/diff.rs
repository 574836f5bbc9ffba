//! `sluice diff`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use sluice_policy::{Decision, Facts, NotNegotiated, Policy, Scratch, Stage, Tls};

use super::replay::Sides;
use crate::{
    config::Config,
    daemon::records::tells_of_packets,
    explain::{
        Given,
        answer::{decide, reason_of, rule_of},
        capture,
        changes::{Change, changes},
        concluded,
        given::{Address, Field, Text, Texts, Time},
        witness,
    },
    replay::{FlowRecord, Seen, Topology, is_capture},
};

/// What is wrong with sides where there is no capture.
const SIDES: &str = "--lan and --gateway tell the sides of a capture: name one by --flows";

/// Changed flows that are made up and told.
const MOST_TOLD: usize = 20;

/// Arguments of `sluice diff`.
#[derive(clap::Args)]
#[command(
    after_help = "Says which rules, defaults, groups, lists, users and schedules are different, and \
tries flows that are made from the values in the rules that are. That they show no difference is no \
proof that there is none. With --flows it also tries flows that have been seen: access records of \
flows (those of requests and packets are left out), or \
facts as `sluice explain --facts` reads them, one JSON object a line, or those of a capture, pcap or \
pcapng, which either policy's kernel programs judge first. A capture needs root.\n\n\
Exit status: 0 nothing changes, 1 something changes, 2 a file cannot be understood.\n\n\
Examples:\n  \
sluice diff /etc/sluice/sluice.toml new.toml\n  \
sluice diff old.toml new.toml --flows access.jsonl --json\n  \
sluice diff old.toml new.toml --flows skype.pcap --lan 192.168.1.0/24"
)]
pub struct Args {
    /// The configuration that is used
    old: PathBuf,
    /// The configuration that would be
    new: PathBuf,
    /// Flows to decide by both, one JSON object a line, or a capture; "-": lines of standard input
    #[arg(long, value_name = "FILE")]
    flows: Option<PathBuf>,
    #[command(flatten)]
    sides: Sides,
    /// One JSON object a line: the changes, then the flows, then a summary
    #[arg(long)]
    json: bool,
}

/// What one policy makes of a flow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Made {
    outcome: Option<&'static str>,
    stage: &'static str,
    possible: Vec<&'static str>,
    next: Option<&'static str>,
    rule: Option<String>,
    reason: Option<&'static str>,
}

impl Made {
    fn of(policy: &Policy, facts: &Facts<'_>, scratch: &mut Scratch) -> Self {
        let (stage, decision) = decide(policy, facts, scratch);
        let (outcome, possible, next) = match &decision {
            Decision::Decided(decided) => (Some(decided.outcome.name()), Vec::new(), None),
            Decision::Undecided(undecided) => (
                None,
                undecided
                    .possible
                    .iter()
                    .map(|outcome| outcome.name())
                    .collect(),
                undecided.next.map(Stage::name),
            ),
        };
        Self {
            outcome,
            stage: stage.name(),
            possible,
            next,
            rule: rule_of(policy, &decision).map(str::to_owned),
            reason: reason_of(&decision),
        }
    }

    /// What becomes of a flow of a capture.
    fn of_seen(config: &Config, flow: &FlowRecord, scratch: &mut Scratch) -> Option<Self> {
        let (verdict, reason) = flow.kernel?;
        if flow.is_steered() {
            return Some(Self::of(
                &config.policy,
                &flow.facts(&config.policy),
                scratch,
            ));
        }
        Some(Self {
            outcome: Some(verdict.name()),
            stage: Stage::Packet.name(),
            possible: Vec::new(),
            next: None,
            rule: None,
            reason: Some(reason.name()),
        })
    }

    /// Whether a flow fares differently: the same outcome by another rule is no difference, but that
    /// it must be decrypted to be decided is one.
    fn differs(&self, other: &Self) -> bool {
        let decrypts = |made: &Self| made.stage == Stage::Request.name();
        self.outcome != other.outcome
            || self.possible != other.possible
            || self.next != other.next
            || decrypts(self) != decrypts(other)
    }
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.outcome, self.next) {
            (Some(outcome), _) => write!(f, "{outcome} at {}", self.stage)?,
            (None, Some(next)) => write!(f, "{} ({next} tells)", self.possible.join(" or "))?,
            (None, None) => f.write_str("blocked")?,
        }
        match (&self.rule, self.reason) {
            (Some(rule), _) => write!(f, " by \"{rule}\""),
            (None, Some(reason)) => write!(f, " by {reason}"),
            (None, None) => Ok(()),
        }
    }
}

/// What an access record says of a flow's facts.
#[derive(Deserialize)]
struct Record<'a> {
    client: SocketAddr,
    destination: SocketAddr,
    time: Option<Time>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    tls: Option<Text<'a>>,
    #[serde(borrow)]
    sni: Option<Text<'a>>,
    #[serde(borrow, default)]
    alpn: Texts<'a>,
    #[serde(borrow)]
    ja4: Option<Text<'a>>,
    ech: Option<bool>,
    /// The record is that of a request, whose flow has one of its own.
    method: Option<IgnoredAny>,
}

impl<'a> From<Record<'a>> for Given<'a> {
    fn from(record: Record<'a>) -> Self {
        let stage = match record.tls.as_ref().and_then(|tls| Tls::from_name(&tls.0)) {
            None => Stage::Open,
            Some(Tls::Hello) => Stage::Hello,
            Some(Tls::Negotiated) => Stage::ServerHello,
            Some(Tls::Not(why)) => NotNegotiated::stage(why),
        };
        Self {
            stage: Field::Is(Text(stage.name().into())),
            client: Field::Is(Address(record.client.ip())),
            destination: Field::Is(Address(record.destination.ip())),
            port: Field::Is(record.destination.port()),
            listener: Field::Is(Text("transparent".into())),
            time: record.time.into(),
            user: record.user.into(),
            tls: record.tls.into(),
            host: record.sni.into(),
            alpn: Some(record.alpn).filter(|names| !names.0.is_empty()).into(),
            ja4: record.ja4.into(),
            ech: record.ech.into(),
            ..Self::default()
        }
    }
}

/// Runs the command: exit code 0 where nothing changes, 1 where something does, 2 where something
/// cannot be understood.
///
/// # Errors
///
/// None: they are told, and give 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    Ok(concluded(compare(args)))
}

struct Both {
    old: Config,
    new: Config,
    scratch: [Scratch; 2],
}

impl Both {
    fn ask(&mut self, given: &Given<'_>) -> anyhow::Result<Option<(Made, Made)>> {
        let prepared = given.prepare()?;
        let [one, two] = &mut self.scratch;
        let old = Made::of(&self.old.policy, &prepared.facts(&self.old.policy), one);
        let new = Made::of(&self.new.policy, &prepared.facts(&self.new.policy), two);
        Ok(old.differs(&new).then_some((old, new)))
    }
}

fn compare(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        old,
        new,
        flows: seen,
        sides,
        json,
    } = args;
    let mut both = Both {
        old: Config::load(&old)?,
        new: Config::load(&new)?,
        scratch: Default::default(),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let changes = changes(&both.old.rules, &both.new.rules)?;
    for change in &changes {
        if json {
            writeln!(out, "{}", serde_json::json!({ "change": change }))?;
        } else {
            writeln!(out, "{change}")?;
        }
    }
    let (tried, found) = made_up(&mut both, &changes, json, &mut out)?;
    let seen = match seen {
        Some(path) => {
            let seen = flows(&mut both, &path, sides, json, &mut out);
            // What was found up to a mistake is worth having.
            out.flush()?;
            Some(seen?)
        }
        None if sides.are_unnamed() => None,
        None => anyhow::bail!("{SIDES}"),
    };
    if json {
        let summary = serde_json::json!({ "summary": {
            "changes": changes.len(),
            "made_up_flows": tried,
            "made_up_flows_changed": found,
            "flows": seen.map(|(flows, _)| flows),
            "flows_changed": seen.map(|(_, changed)| changed),
        }});
        writeln!(out, "{summary}")?;
    } else {
        if changes.is_empty() {
            writeln!(out, "the rules say the same")?;
        } else if found == 0 {
            writeln!(
                out,
                "no difference found in {tried} flows tried, which is no proof that there is none"
            )?;
        } else {
            writeln!(
                out,
                "{found} of {tried} flows made from the rules fare differently"
            )?;
        }
        if let Some((flows, changed)) = seen {
            writeln!(
                out,
                "{changed} of {flows} flows that were seen fare differently"
            )?;
        }
    }
    out.flush()?;
    let same = changes.is_empty() && seen.is_none_or(|(_, changed)| changed == 0);
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Tries flows that are made from the rules; how many, and how many fare differently.
fn made_up(
    both: &mut Both,
    changes: &[Change],
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<(usize, usize)> {
    if changes.is_empty() {
        return Ok((0, 0));
    }
    let flows = witness::flows([&both.old.rules, &both.new.rules], changes)?;
    let mut found = 0;
    let tried = flows.len();
    for flow in flows {
        let text = serde_json::Value::Object(flow).to_string();
        // A guess from a pattern may be no value at all.
        let Ok(given) = Given::read(&text) else {
            continue;
        };
        let Ok(Some((old, new))) = both.ask(&given) else {
            continue;
        };
        found += 1;
        if found <= MOST_TOLD {
            tell(&text, &old, &new, json, out)?;
        }
    }
    Ok((tried, found))
}

/// Tries flows that were seen; how many, and how many fare differently.
fn flows(
    both: &mut Both,
    path: &Path,
    sides: Sides,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<(usize, usize)> {
    let name = path.display().to_string();
    let mut source: Box<dyn BufRead> = if name == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| format!("{name}: cannot be read"))?;
        Box::new(BufReader::new(file))
    };
    let begin = source.fill_buf();
    let begin = begin.with_context(|| format!("{name}: cannot be read"))?;
    if begin.first_chunk().is_some_and(|magic| is_capture(*magic)) {
        anyhow::ensure!(
            name != "-",
            "-: a capture is not read from standard input: name its file"
        );
        return captured(both, path, &sides.into(), json, out);
    }
    anyhow::ensure!(sides.are_unnamed(), "{SIDES}");
    let (mut line, mut number, mut count, mut changed) = (String::new(), 0_u64, 0, 0);
    loop {
        line.clear();
        number += 1;
        let length = source.read_line(&mut line);
        if length.with_context(|| format!("{name}:{number}: cannot be read"))? == 0 {
            return Ok((count, changed));
        }
        let text = line.trim();
        if text.is_empty() || tells_of_packets(text) {
            continue;
        }
        let given = match serde_json::from_str::<Record<'_>>(text) {
            Ok(record) if record.method.is_some() => continue,
            Ok(record) => Ok(record.into()),
            Err(_) => Given::read(text),
        };
        let given = given.map_err(|message| anyhow::anyhow!("{name}:{number}: {message}"))?;
        count += 1;
        let made = both
            .ask(&given)
            .map_err(|bad| anyhow::anyhow!("{name}:{number}: {bad}"))?;
        if let Some((old, new)) = made {
            changed += 1;
            tell(text, &old, &new, json, out)?;
        }
    }
}

/// Tries the flows of a capture that somebody judges; how many, and how many fare differently.
fn captured(
    both: &mut Both,
    path: &Path,
    topology: &Topology,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<(usize, usize)> {
    let old = capture::flows(path, &both.old, topology)?;
    let new = capture::flows(path, &both.new, topology)?;
    let (mut count, mut changed) = (0, 0);
    let [one, two] = &mut both.scratch;
    // Which packets are a flow does not hang on a configuration.
    for (number, (old, new)) in (1..).zip(old.iter().zip(&new)) {
        let made = (
            Made::of_seen(&both.old, old, one),
            Made::of_seen(&both.new, new, two),
        );
        let (Some(before), Some(after)) = made else {
            continue;
        };
        count += 1;
        if before.differs(&after) {
            changed += 1;
            let seen = serde_json::to_string(&Seen::of(old, Some(number)))?;
            tell(&seen, &before, &after, json, out)?;
        }
    }
    Ok((count, changed))
}

fn tell(flow: &str, old: &Made, new: &Made, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        // The flow is JSON already.
        let (old, new) = (serde_json::to_string(old)?, serde_json::to_string(new)?);
        writeln!(out, "{{\"flow\":{flow},\"old\":{old},\"new\":{new}}}")?;
    } else {
        writeln!(out, "{old} -> {new}\n  {flow}")?;
    }
    Ok(())
}
