//! `sluice support`.

mod collect;
mod scrub;

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Context as _;
use collect::{Collected, Item};
use flate2::{Compression, write::GzEncoder};

use super::pipe;

/// The folder of the archive.
const FOLDER: &str = "sluice-support";

/// Arguments of `sluice support`.
#[derive(clap::Args)]
#[command(
    after_help = "The archive is for those who help you. It has the configuration without passwords and comments, what \
`check`, `status`, `doctor` and /metrics say, the latest access records, and how network and pins look. Files \
that the configuration names are not in it: keys, passwords, users and lists stay where they are.\n\n\
Clients in records and in the daemon's log are told by their network alone, and users by a number, unless \
--with-addresses is given; queries of URLs are always taken out. The configuration tells users and addresses as it is \
written. Read the archive before you give it away: its MANIFEST says what is in it, and what is not and why.\n\n\
Examples:\n  \
sluice support --list\n  \
sluice support --out /tmp/sluice.tar.gz --config /etc/sluice/sluice.toml\n  \
sluice support --out sluice.tar.gz --log /var/log/sluice/daemon.log --records 5000"
)]
pub struct Args {
    /// The archive to write; it must not be there yet.
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Only say what would be in it.
    #[arg(long, conflicts_with = "out")]
    list: bool,
    /// The configuration of the daemon.
    #[arg(long, value_name = "FILE", default_value = "/etc/sluice/sluice.toml")]
    config: PathBuf,
    /// The file that the daemon's own messages go to, if they go to one.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How many of the latest access records are packed.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    records: u32,
    /// Tell clients' addresses and users as they are.
    #[arg(long)]
    with_addresses: bool,
}

/// Packs what those need who help.
///
/// # Errors
///
/// The archive is there already, or cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let collected = collect::collect(args);
    let manifest = manifest(&collected);
    let Some(out) = &args.out else {
        return pipe::ended(pipe::stdout().write_all(manifest.as_bytes()));
    };
    // What is packed is seen before it is there.
    pipe::ended(pipe::stdout().write_all(manifest.as_bytes()))?;
    let at = || out.display().to_string();
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .with_context(at)?;
    write(file, &manifest, &collected).with_context(at)?;
    Ok(ExitCode::SUCCESS)
}

fn manifest(collected: &Collected) -> String {
    let mut text = String::from("in the archive:\n");
    for Item {
        name,
        what,
        text: content,
    } in &collected.items
    {
        let bytes = content.len();
        text.push_str(&format!("  {name:<20} {bytes:>9} bytes  {what}\n"));
    }
    text.push_str("left out:\n");
    for (name, why) in &collected.left_out {
        text.push_str(&format!("  {name:<20} {why}\n"));
    }
    text
}

fn write(file: File, manifest: &str, collected: &Collected) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut append = |name: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, Path::new(FOLDER).join(name), text.as_bytes())
    };
    append("MANIFEST", manifest)?;
    for item in &collected.items {
        append(item.name, &item.text)?;
    }
    let file = archive.into_inner()?.finish()?;
    file.sync_all()
}
