//! The flows of a capture, as what a policy is asked about.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;
use sluice_abi::Verdict;
use sluice_policy::Scratch;

use super::{Answer, text};
use crate::{
    config::Config,
    replay::{self, FlowRecord, ReplayError, Told, Topology},
};

/// Why a flow of a capture cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The capture holds no flow at all.
    #[error("{0}: no flow in it: it holds no IP packets; `tcpdump -r {0}` shows what it does hold")]
    Empty(String),
    /// There are fewer flows.
    #[error(
        "{file}: no flow {number}: it has {flows}, numbered from 1; without --flow they are listed"
    )]
    Number {
        /// The capture.
        file: String,
        /// The flow that was asked for.
        number: usize,
        /// How many there are.
        flows: usize,
    },
    /// The capture cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// The flows of a capture, in the order of their first packets, which is that of their numbers.
///
/// # Errors
///
/// [`FlowError::Empty`] and [`FlowError::Replay`].
pub fn flows(
    file: &Path,
    config: &Config,
    topology: &Topology,
) -> Result<Vec<FlowRecord>, FlowError> {
    let flows = replay::replay(file, config, topology)?;
    if flows.is_empty() {
        return Err(FlowError::Empty(file.display().to_string()));
    }
    Ok(flows)
}

/// The number of the flow to explain: the one that was asked for, or the only one there is; `None`
/// where they are to be listed.
///
/// # Errors
///
/// [`FlowError::Number`].
pub fn chosen(
    file: &Path,
    flows: &[FlowRecord],
    asked: Option<usize>,
) -> Result<Option<usize>, FlowError> {
    match asked {
        None => Ok((flows.len() == 1).then_some(1)),
        Some(number) if (1..=flows.len()).contains(&number) => Ok(Some(number)),
        Some(number) => Err(FlowError::Number {
            file: file.display().to_string(),
            number,
            flows: flows.len(),
        }),
    }
}

/// Lists flows with their numbers.
///
/// # Errors
///
/// What keeps them from being written.
pub fn list(flows: &[FlowRecord], json: bool, out: &mut dyn Write) -> io::Result<()> {
    for (number, flow) in (1..).zip(flows) {
        if json {
            serde_json::to_writer(&mut *out, &Told::of(flow, Some(number)))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{number:>5}  {}", replay::line(flow))?;
        }
    }
    Ok(())
}

/// Explains one flow, of which the policy is asked where the kernel hands it to the daemon.
///
/// # Errors
///
/// What keeps it from being written.
pub fn explain(
    config: &Config,
    flow: &FlowRecord,
    number: usize,
    json: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let facts = flow.facts(&config.policy);
    if json {
        let asked = || Answer::of(&config.policy, &facts, &mut Scratch::default());
        let explained = Explained {
            flow: Told::of(flow, Some(number)),
            answer: flow.is_steered().then(asked),
        };
        serde_json::to_writer(&mut *out, &explained)?;
        return writeln!(out);
    }
    writeln!(out, "{number:>5}  {}\n", replay::line(flow))?;
    match flow.kernel {
        Some((Verdict::Steer, _)) => {
            out.write_all(text::tell(config, &facts, false).as_bytes())?;
            if !flow.known.met {
                writeln!(
                    out,
                    "the daemon does not meet it: the capture does not hold its beginning"
                )?;
            }
            Ok(())
        }
        Some((Verdict::Pass, reason)) => writeln!(
            out,
            "passed at packet by the kernel programs ({}): no rule is asked",
            reason.name()
        ),
        Some((verdict, reason)) => writeln!(
            out,
            "refused at packet by the kernel programs ({}, {}): no rule is asked",
            verdict.name(),
            reason.name()
        ),
        None => writeln!(
            out,
            "not judged: none of its packets crosses the LAN device; --lan and --gateway say which \
             addresses stand where"
        ),
    }
}

#[derive(Serialize)]
struct Explained<'a> {
    flow: Told<'a>,
    answer: Option<Answer<'a>>,
}
