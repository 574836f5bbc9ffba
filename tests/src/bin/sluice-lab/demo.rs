//! Tries everything, and tells what came of it.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use sluice_tests::{dial::Outcome, family::Family, metrics::Metrics};

use crate::{
    attempt::{Expected, Line},
    table,
    world::World,
};

/// How long the count of a flow may follow its end.
const COUNTED: Duration = Duration::from_millis(1500);

/// Shows the demo; fails when an attempt ended otherwise than it should.
pub(crate) fn run(keep: bool) -> Result<ExitCode> {
    let begin = Instant::now();
    println!("A client, a gateway that runs sluice with the shipped recipe, and an internet ...");
    let world = World::build()?;
    println!("stand after {:.1} s.\n", begin.elapsed().as_secs_f64());
    let first = world.sluice.metrics();
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    for line in Family::ALL.into_iter().flat_map(Line::all) {
        let before = world.sluice.metrics();
        let (outcome, time) = line.attempt(&world);
        let reasons = reasons(&world, &before, line.reasons);
        let counted = line
            .reasons
            .iter()
            .any(|wanted| reasons.iter().any(|had| had == wanted));
        let right = line.is_as_expected(&outcome);
        if !right || !counted {
            faults.push(format!(
                "{} ({:?}): {outcome}, counted as {}; expected {:?} with one of {}",
                line.title(),
                line.family,
                reasons.join(", "),
                line.expected,
                line.reasons.join(", ")
            ));
        }
        rows.push([
            if line.family == Family::V4 { "4" } else { "6" }.to_owned(),
            line.title(),
            told(line.expected, &outcome),
            reasons.join(", "),
            format!("{:>7.1} ms", time.as_secs_f64() * 1000.0),
            if right && counted {
                "as it should"
            } else {
                "WRONG"
            }
            .to_owned(),
        ]);
    }
    table::print(
        ["IP", "attempt", "what happened", "reason", "time", ""],
        &rows,
    );
    println!("\nThe counters that moved:\n");
    let mut moved = world.sluice.metrics().moved_since(&first);
    moved.retain(|(series, _)| is_counter(series));
    let moved = moved
        .into_iter()
        .map(|(series, by)| [series, format!("+{by}")]);
    table::print(["metric", "by"], &moved.collect::<Vec<_>>());
    println!();
    for fault in &faults {
        println!("WRONG  {fault}");
    }
    let (good, wrong) = (rows.len() - faults.len(), faults.len());
    println!(
        "{good} as they should be, {wrong} wrong; {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    if !faults.is_empty() {
        println!("\nWhat the daemon said:\n{}", world.sluice.log());
    }
    if keep {
        world.explain();
        world.keep();
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The reasons that were counted since, once one of those that are waited for is among them.
fn reasons(world: &World, before: &Metrics, wanted: &[&str]) -> Vec<String> {
    let deadline = Instant::now() + COUNTED;
    loop {
        let mut found: Vec<String> = world
            .sluice
            .metrics()
            .moved_since(before)
            .iter()
            .filter(|(series, _)| is_counter(series))
            .flat_map(|(series, _)| words(series))
            .collect();
        found.sort();
        found.dedup();
        let there = found.iter().any(|reason| wanted.contains(&reason.as_str()));
        if there || Instant::now() > deadline {
            // What every packet of the gateway and of a known flow counts says nothing here.
            found.retain(|reason| {
                wanted.contains(&reason.as_str()) || !COMMON.contains(&reason.as_str())
            });
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reasons that belong to no attempt in particular.
const COMMON: &[&str] = &[
    "not-ip",
    "unforwarded",
    "flow",
    "from-gateway",
    "own-socket",
    "to-gateway",
    "steered",
    "hello",
    "finished",
];

/// Why, and in what way a flow was not TLS.
fn words(series: &str) -> impl Iterator<Item = String> {
    ["reason", "tls"].into_iter().filter_map(|label| {
        let value = series
            .split(&format!("{label}=\""))
            .nth(1)?
            .split('"')
            .next()?;
        Some(value.to_owned())
    })
}

fn is_counter(series: &str) -> bool {
    series
        .split('{')
        .next()
        .is_some_and(|name| name.ends_with("_total"))
}

/// What happened, in the words of somebody who watches.
fn told(expected: Expected, outcome: &Outcome) -> String {
    match (expected, outcome) {
        (Expected::Refused, Outcome::Answered(bytes)) if bytes.first() == Some(&21) => {
            "refused, TLS alert".to_owned()
        }
        (Expected::Asked, Outcome::Answered(_)) => "407, asked for a password".to_owned(),
        (Expected::Page(_), Outcome::Answered(_)) => "403, the Blocked page".to_owned(),
        (_, Outcome::Refused) => "refused, port closed".to_owned(),
        (_, Outcome::Prohibited) => "refused, prohibited".to_owned(),
        (_, Outcome::Reset) => "refused, reset".to_owned(),
        (Expected::Silent, Outcome::Silence) => "dropped".to_owned(),
        (_, outcome) => outcome.to_string(),
    }
}
