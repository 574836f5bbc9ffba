//! Flows that were set up, proved to work and then say nothing.

use std::{
    io::{Read as _, Write as _},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    result::Idle,
    route::Route,
    socket::Source,
    wire::{self, Wish},
};
use crate::proc::{Watched, held};

/// Holds `flows` flows for `settle` and reads what the watched processes hold before and meanwhile.
///
/// # Errors
///
/// A flow could not be set up, or a watched process ended.
pub fn run(
    route: &Route,
    source: &Source,
    flows: usize,
    settle: Duration,
    watched: &[Watched],
) -> Result<Idle> {
    // The first flow makes a gateway allocate what it allocates once.
    drop(hold(route, source)?);
    thread::sleep(settle);
    let before = watched
        .iter()
        .map(|process| held(process.pid))
        .collect::<Result<Vec<_>>>()?;
    let mut sockets = Vec::with_capacity(flows);
    for _ in 0..flows {
        sockets.push(hold(route, source)?);
    }
    thread::sleep(settle);
    let mut found = Vec::new();
    for (process, before) in watched.iter().zip(before) {
        found.push((process.name.clone(), before, held(process.pid)?));
    }
    Ok(Idle {
        flows: sockets.len(),
        held: found,
    })
}

fn hold(route: &Route, source: &Source) -> Result<socket2::Socket> {
    let mut socket = route
        .connect(source)
        .context("an idle flow did not begin")?;
    socket.write_all(&wire::opening(Wish::Hold))?;
    let mut byte = [0];
    socket
        .read_exact(&mut byte)
        .context("an idle flow got no answer")?;
    Ok(socket)
}
