//! `sluice status`.

mod daemon;
mod facts;
mod health;
mod human;
mod machine;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use facts::Facts;
use health::{Health, State};
pub(super) use human::span;

use super::{
    pipe,
    screen::{self, Event, Key, Screen},
};
use crate::{kernel_state, scrape::Scrape};

/// Arguments of `sluice status`.
#[derive(clap::Args)]
#[command(
    after_help = "The kernel side is read from its pins, which takes root; the daemon is asked at the addresses of \
[admin]. Each of them is shown where the other cannot be read. Flows per second are since the daemon began; with \
--watch, since the last time.\n\n\
On a terminal --watch draws over what it drew before, and ends by `q` or Ctrl-C; elsewhere it prints one block after \
the other.\n\n\
Exit status: 0 healthy; 1 degraded, with the reasons in the first lines, or the configuration has mistakes; 2 no \
daemon is running.\n\n\
Examples:\n  \
sluice status --config /etc/sluice/sluice.toml\n  \
sluice status --watch 5\n  \
sluice status --json | jq .health"
)]
pub struct Args {
    /// The configuration whose pins and daemon are meant; without it the default ones.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of pins, in place of the configured one.
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Print one JSON object, with every counter; with --watch one a line.
    #[arg(long)]
    json: bool,
    /// Look again every so many seconds, 2 where no number is given.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    watch: Option<u32>,
}

/// Shows what is loaded, what it counts, how the daemon fares, and what it remembers.
///
/// # Errors
///
/// The configuration has mistakes, or what is shown cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        bpffs,
        json,
        watch,
    } = args;
    let config = kernel_state::config_or_default(config.as_deref())?;
    let bpffs = bpffs.as_ref().unwrap_or(&config.gateway.bpffs_dir);
    let mut last = Scrape::default();
    let look = || {
        let facts = Facts::gather(&config, bpffs, &mut last);
        let health = Health::of(&facts);
        let text = if json {
            format!("{}\n", machine::value(&facts, &health))
        } else {
            human::text(&facts, &health)
        };
        (text, health.state)
    };
    match watch.map(|seconds| Duration::from_secs(seconds.into())) {
        None => once(look),
        Some(pause) if !json && screen::is_there() => on_screen(look, pause),
        Some(pause) => in_blocks(look, pause, !json),
    }
}

fn once(mut look: impl FnMut() -> (String, State)) -> anyhow::Result<ExitCode> {
    let (text, state) = look();
    pipe::ended(pipe::stdout().write_all(text.as_bytes()))?;
    Ok(state.code())
}

fn on_screen(
    mut look: impl FnMut() -> (String, State),
    pause: Duration,
) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::open()?;
    loop {
        let (text, state) = look();
        let next = Instant::now() + pause;
        loop {
            screen.draw(&text)?;
            match screen.next(next)? {
                Event::Over => break,
                Event::End | Event::Key(Key::Letter('q')) => return Ok(state.code()),
                Event::Key(_) | Event::Resized => {}
            }
        }
    }
}

/// For readers that are no terminal, until they have had enough.
fn in_blocks(
    mut look: impl FnMut() -> (String, State),
    pause: Duration,
    apart: bool,
) -> anyhow::Result<ExitCode> {
    loop {
        let (mut text, state) = look();
        if apart {
            text.push('\n');
        }
        let mut out = pipe::stdout();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(state.code()),
            Err(error) => return Err(error.into()),
        }
        drop(out);
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests;
