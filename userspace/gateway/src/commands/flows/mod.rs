//! `sluice flows`.

mod filter;
mod follow;
mod line;
mod record;

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use filter::Filter;
use follow::{Follower, Lines};
use record::{LineError, Record};

use super::pipe;
use crate::{
    config::{Config, Sink, lease},
    daemon::record::rfc3339,
};

/// Where the configuration is that names the file, where nothing else is named.
const CONFIG: &str = "/etc/sluice/sluice.toml";

/// How often it is looked whether there is more.
const LOOK: Duration = Duration::from_millis(200);

/// Records of before that a look at the end begins with, and in how many bytes they are looked for.
const LATEST: usize = 10;
const LATEST_BYTES: u64 = 1 << 20;

/// Arguments of `sluice flows`.
#[derive(clap::Args)]
#[command(
    after_help = "The records are read from FILE, from standard input where that is \"-\", or from the first \"file:\" \
of `access` in [log]. A file is followed, also when it is rotated or emptied, from its ten latest records on; with \
--since or --no-follow from its beginning. Files that were moved aside before are not looked at: name them.\n\n\
A line has the time in UTC, client, user, verdict, what was asked for, reason, rule, bytes and milliseconds. Options \
of one name say \"or\", different ones \"and\". Both formats of [log] are understood.\n\n\
Examples:\n  \
sluice flows --verdict block\n  \
sluice flows --client 10.20.4.7 --since 15m\n  \
sluice flows --host .shop.example --kind request --no-follow\n  \
sluice flows --reason policy-rule --json | jq .destination\n  \
zcat access.jsonl.2.gz | sluice flows --file - --rule \"no shopping\""
)]
pub struct Args {
    /// The file to read; "-": standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration that names the file, by default /etc/sluice/sluice.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
    /// Only what began within so long, such as "15m", or since a moment, such as
    /// "2026-01-31T08:00:00Z".
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<String>,
    /// End after so many records.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End where the file ends.
    #[arg(long)]
    no_follow: bool,
    /// Pass the lines on as they are.
    #[arg(long)]
    json: bool,
}

/// Shows access records as they come.
///
/// # Errors
///
/// The configuration has mistakes or names no file, the file cannot be read, or is no access log.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let follow = !args.no_follow;
    let from_end = follow && args.since.is_none();
    let file = match (&args.file, &args.config) {
        (Some(file), _) => file.clone(),
        (None, config) => configured(config.as_deref().unwrap_or(Path::new(CONFIG)))?,
    };
    let mut show = Show {
        left: args.limit.unwrap_or(u64::MAX),
        filter: args.filter,
        since: args.since,
        json: args.json,
        colours: pipe::has_colours(),
        knows: false,
        strange: 0,
    };
    let done = if file == Path::new("-") {
        show.stream()
    } else {
        let at = || file.display().to_string();
        let mut follower = Follower::open(&file, follow).with_context(at)?;
        if !follower.is_there() {
            eprintln!("sluice: {}: not there yet", file.display());
        }
        show.file(&mut follower, follow, from_end)
            .map_err(|why| why.at(&at()))
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Stop::Written(error)) => pipe::ended(Err(error)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Why it does not go on.
enum Stop {
    /// What is shown cannot be written.
    Written(io::Error),
    Failed(anyhow::Error),
}

impl Stop {
    fn at(self, place: &str) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.context(place.to_owned())),
            written @ Self::Written(_) => written,
        }
    }
}

fn read(error: io::Error) -> Stop {
    Stop::Failed(anyhow::Error::new(error).context("cannot be read"))
}

fn configured(file: &Path) -> anyhow::Result<PathBuf> {
    let config = Config::load(file)?;
    let mut sinks = config.log.access.iter();
    let found = sinks.find_map(|sink| match sink {
        Sink::File(path) => Some(path.clone()),
        _ => None,
    });
    found.with_context(|| {
        format!(
            "{}: `access` in [log] names no file: add \"file:/var/log/sluice/access.jsonl\", or name \
             one by --file; what goes to journald is read by `journalctl -o cat | sluice flows --file -`",
            file.display()
        )
    })
}

/// A moment, as records have it.
fn since(text: &str) -> Result<String, String> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        let millis = u64::try_from(moment.as_millisecond()).unwrap_or(0);
        return Ok(rfc3339(
            SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
        ));
    }
    match lease(text) {
        Ok(ago) => Ok(rfc3339(
            SystemTime::now()
                .checked_sub(ago)
                .unwrap_or(SystemTime::UNIX_EPOCH),
        )),
        Err(error) => Err(format!(
            "{error}; or a moment such as \"2026-01-31T08:00:00Z\""
        )),
    }
}

/// What is shown, and what of it is left.
struct Show {
    filter: Filter,
    since: Option<String>,
    left: u64,
    json: bool,
    colours: bool,
    /// Whether there was a record already.
    knows: bool,
    /// Lines that are none.
    strange: u64,
}

impl Show {
    /// Standard input, to its end.
    fn stream(&mut self) -> Result<(), Stop> {
        let (mut lines, mut input) = (Lines::default(), io::stdin().lock());
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = match input.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count.map_err(read)?,
            };
            let mut found = Vec::new();
            lines.take(piece.get(..count).unwrap_or_default(), &mut found);
            if count == 0 {
                lines.finish(&mut found);
            }
            self.lines(&found)?;
            if count == 0 || self.left == 0 {
                return Ok(());
            }
        }
    }

    fn file(&mut self, follower: &mut Follower, follow: bool, from_end: bool) -> Result<(), Stop> {
        if from_end {
            follower.skip_to_last(LATEST_BYTES).map_err(read)?;
            let mut found = Vec::new();
            while follower.read(&mut found).map_err(read)? {}
            self.latest(&found)?;
        }
        while self.left > 0 {
            let mut found = Vec::new();
            let more = follower.read(&mut found).map_err(read)?;
            if !more && !follow {
                follower.finish(&mut found);
            } else if !more {
                follower.look(Instant::now(), &mut found).map_err(read)?;
            }
            self.lines(&found)?;
            match (more, follow) {
                (true, _) => {}
                (false, true) => thread::sleep(LOOK),
                (false, false) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The latest of those that are to be shown.
    fn latest(&mut self, lines: &[Vec<u8>]) -> Result<(), Stop> {
        let mut wanted = Vec::new();
        for line in lines {
            if self.record(line)?.is_some() {
                wanted.push(line.clone());
            }
        }
        let skipped = wanted.len().saturating_sub(LATEST);
        self.lines(wanted.get(skipped..).unwrap_or_default())
    }

    fn lines(&mut self, lines: &[Vec<u8>]) -> Result<(), Stop> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut out = pipe::stdout();
        for line in lines {
            let Some(record) = self.record(line)? else {
                continue;
            };
            if self.json {
                out.write_all(line).map_err(Stop::Written)?;
                out.write_all(b"\n").map_err(Stop::Written)?;
            } else {
                let text = line::text(&record, self.colours);
                out.write_all(text.as_bytes()).map_err(Stop::Written)?;
            }
            self.left -= 1;
            if self.left == 0 {
                break;
            }
        }
        out.flush().map_err(Stop::Written)
    }

    /// The record of a line, where it is to be shown.
    fn record(&mut self, line: &[u8]) -> Result<Option<Record>, Stop> {
        let parsed = std::str::from_utf8(line)
            .map_err(|_| LineError::NoRecord)
            .and_then(Record::parse);
        let record = match parsed {
            Ok(record) => record,
            // What was written before a crash may be half a line; a file of others is a mistake.
            Err(error) if self.knows => {
                self.strange += 1;
                if self.strange == 1 {
                    eprintln!("sluice: passing over {error}");
                }
                return Ok(None);
            }
            Err(error) => return Err(Stop::Failed(error.into())),
        };
        self.knows = true;
        let late = self
            .since
            .as_ref()
            .is_none_or(|since| record.time >= *since);
        Ok((late && self.filter.takes(&record)).then_some(record))
    }
}
