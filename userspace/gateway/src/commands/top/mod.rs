//! `sluice top`.

mod frame;

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use frame::{Frame, Sort, View};

use super::{
    pipe,
    screen::{self, Event, Key, Screen},
};
use crate::{
    ask,
    config::Config,
    kernel_state,
    scrape::{Between, Scrape},
};

/// Columns of a frame that is no terminal's.
const WIDTH: usize = 100;

/// Arguments of `sluice top`.
#[derive(clap::Args)]
#[command(
    after_help = "Everything is of the last interval, but for columns headed \"in all\", which are since the daemon \
began. The metrics are asked for at the addresses of [admin]; METRICS.md has all of them.\n\n\
Keys: q or Ctrl-C ends; p pauses; s sorts by what happens now or by what happened in all; the arrows move through \
the tables.\n\n\
Without a terminal, or with --once, frames are printed as text.\n\n\
Examples:\n  \
sluice top\n  \
sluice top --interval 5 --config /etc/sluice/sluice.toml\n  \
sluice top --once | head -20"
)]
pub struct Args {
    /// The configuration of the daemon that is asked; without it the default one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    interval: u32,
    /// Print one frame after one interval, and end.
    #[arg(long)]
    once: bool,
}

/// Shows what the gateway does right now.
///
/// # Errors
///
/// The configuration has mistakes, no daemon answers at the beginning, or the terminal is gone.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        interval,
        once,
    } = args;
    let config = kernel_state::config_or_default(config.as_deref())?;
    let interval = Duration::from_secs(interval.into());
    let mut watch = Watch::begin(&config)?;
    if once {
        thread::sleep(interval);
        watch.look();
        return pipe::ended(watch.print());
    }
    if screen::is_there() {
        return on_screen(watch, interval);
    }
    loop {
        thread::sleep(interval);
        watch.look();
        if let Err(error) = watch.print() {
            return pipe::ended(Err(error));
        }
    }
}

/// The last two looks.
struct Watch<'c> {
    config: &'c Config,
    before: Scrape,
    after: Scrape,
    /// Why the last look saw nothing.
    blind: Option<String>,
}

impl<'c> Watch<'c> {
    fn begin(config: &'c Config) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            before: Scrape::default(),
            after: scrape(config)?,
            blind: None,
        })
    }

    /// Looks again. While nobody answers, what was seen last stays.
    fn look(&mut self) {
        match scrape(self.config) {
            Ok(scrape) => {
                self.before = std::mem::replace(&mut self.after, scrape);
                self.blind = None;
            }
            Err(error) => self.blind = Some(format!("{error:#}")),
        }
    }

    fn frame(&self, view: &View) -> String {
        let frame = Frame {
            between: Between {
                before: &self.before,
                after: &self.after,
            },
            blind: self.blind.as_deref(),
        };
        frame.text(view)
    }

    fn print(&self) -> std::io::Result<()> {
        let text = self.frame(&View {
            width: WIDTH,
            height: None,
            ..View::default()
        });
        let mut out = pipe::stdout();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }
}

fn scrape(config: &Config) -> anyhow::Result<Scrape> {
    Ok(Scrape::parse(&ask::metrics(&config.admin.listen)?)?)
}

fn on_screen(mut watch: Watch<'_>, interval: Duration) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::open()?;
    let mut view = View {
        colours: pipe::has_colours(),
        ..View::default()
    };
    // The first rates are seen soon, and those after them at their pace.
    let mut next = Instant::now() + interval.min(Duration::from_secs(1));
    loop {
        let (width, height) = screen.size();
        (view.width, view.height) = (width, Some(height));
        screen.draw(&watch.frame(&view))?;
        match screen.next(next)? {
            Event::End | Event::Key(Key::Letter('q')) => return Ok(ExitCode::SUCCESS),
            Event::Key(Key::Letter('p')) => view.paused = !view.paused,
            Event::Key(Key::Letter('s')) => {
                view.sort = match view.sort {
                    Sort::Now => Sort::All,
                    Sort::All => Sort::Now,
                };
            }
            Event::Key(Key::Up) => view.skipped = view.skipped.saturating_sub(1),
            Event::Key(Key::Down) => view.skipped = view.skipped.saturating_add(1).min(1000),
            Event::Key(Key::Letter(_)) | Event::Resized => {}
            Event::Over => {
                if !view.paused {
                    watch.look();
                }
                next = Instant::now() + interval;
            }
        }
    }
}
