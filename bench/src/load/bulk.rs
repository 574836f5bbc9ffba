//! Long flows at full speed: a thread for each on either side, so that no core waits for another.

use std::{
    io::Write as _,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::{
    result::Bulk,
    route::Route,
    socket::Source,
    wire::{self, CHUNK, Wish},
};
use crate::proc::{Moment, Watched};

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// Where the flows lead.
    pub route: Route,
    /// Where the flows come from.
    pub source: Source,
    /// How many flows at once.
    pub flows: usize,
    /// [`Wish::Download`] or [`Wish::Upload`].
    pub wish: Wish,
    /// What the client does with a download.
    pub taking: Taking,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Length of the measurement.
    pub length: Duration,
}

/// How a receiver takes bytes off its socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taking {
    /// Copies them out, as an application does.
    Read,
    /// Discards them in the kernel (`MSG_TRUNC`, tcp(7)): the ends cost less than in practice, so
    /// that what lies between them weighs more.
    Discard,
}

/// Runs bulk flows. An upload is counted where it is sent: what is still under way at the end is
/// no more than the socket buffers hold.
///
/// # Errors
///
/// A flow could not begin, or ended before the warm-up did.
pub fn run(plan: &Plan, watched: &[Watched]) -> Result<Bulk> {
    let mut flows = Vec::with_capacity(plan.flows);
    for _ in 0..plan.flows {
        flows.push(begin(plan).context("a bulk flow did not begin")?);
    }
    let counted = |flows: &[Flow]| -> u64 {
        flows
            .iter()
            .map(|flow| flow.bytes.load(Ordering::Relaxed))
            .sum()
    };
    let ended = |flows: &[Flow]| {
        flows
            .iter()
            .filter(|flow| flow.thread.is_finished())
            .count()
    };

    thread::sleep(plan.warm_up);
    if ended(&flows) > 0 {
        bail!("a bulk flow ended during the warm-up");
    }
    let (from, start, first) = (Moment::now(watched)?, Instant::now(), counted(&flows));
    thread::sleep(plan.length);
    let (last, seconds) = (counted(&flows), start.elapsed().as_secs_f64());
    let cpu = from.until(&Moment::now(watched)?, watched);
    let failed = ended(&flows) as u64;

    for flow in &flows {
        // A flow that has ended cannot be shut down, and need not be.
        drop(flow.socket.shutdown(Shutdown::Both));
    }
    for flow in flows {
        drop(flow.thread.join());
    }
    let bytes = last - first;
    #[expect(clippy::cast_precision_loss, reason = "bytes of a minute at most")]
    let gbit_per_second = bytes as f64 * 8e-9 / seconds;
    Ok(Bulk {
        flows: plan.flows,
        seconds,
        bytes,
        gbit_per_second,
        failed,
        cpu,
    })
}

struct Flow {
    socket: Socket,
    bytes: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

fn begin(plan: &Plan) -> Result<Flow> {
    let mut socket = plan.route.connect(&plan.source)?;
    socket.write_all(&wire::opening(plan.wish))?;
    let bytes = Arc::new(AtomicU64::new(0));
    let (mover, count) = (socket.try_clone()?, bytes.clone());
    let (download, taking) = (plan.wish == Wish::Download, plan.taking);
    let thread = thread::Builder::new()
        .name("bulk".to_owned())
        .spawn(move || {
            if download {
                swallow(&mover, taking, |length| {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                });
            } else {
                pour(&mover, |length| {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                });
            }
        })?;
    Ok(Flow {
        socket,
        bytes,
        thread,
    })
}

/// Takes bytes off a blocking socket until its end.
pub(super) fn swallow(socket: &Socket, taking: Taking, mut count: impl FnMut(usize)) {
    let mut buffer = vec![0; CHUNK];
    let flags = match taking {
        Taking::Read => RecvFlags::empty(),
        Taking::Discard => RecvFlags::TRUNC,
    };
    while let Ok((_, length)) = recv(socket, &mut buffer, flags) {
        if length == 0 {
            break;
        }
        count(length);
    }
}

/// Writes to a blocking socket until its peer goes.
pub(super) fn pour(mut socket: &Socket, mut count: impl FnMut(usize)) {
    let noise: Vec<u8> = (0..CHUNK).map(|at| at.to_le_bytes()[0]).collect();
    while let Ok(length) = socket.write(&noise) {
        count(length);
    }
}
