//! `sluice identity`.

use std::{
    io::{self, BufWriter, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
};

use crate::{
    ask,
    config::AdminListener,
    daemon::admin::{
        Forgotten,
        identity::{Forgetting, Listed, Telling},
    },
    identity::whois::{Believed, Whois, span},
    kernel_state,
};

/// Arguments of `sluice identity`.
#[derive(clap::Args)]
#[command(
    after_help = "For whatever knows who has an address: a RADIUS server, a captive portal, a script of the \
DHCP server. Whoever is told goes before everybody else who is known by the address; flows that are \
open keep whom they began with. The daemon forgets it when the time is over; a restart does not matter.\n\n\
It is told on a Unix socket of [admin] alone, whose file says who may; other programs write there \
themselves:\n  \
curl --unix-socket /run/sluice/admin.sock http://sluice/api/identity/10.20.4.7 \\\n    \
-X PUT -d '{\"user\":\"alice\",\"groups\":[\"staff\"],\"ttl\":\"8h\"}'\n  \
curl --unix-socket /run/sluice/admin.sock http://sluice/api/identity/10.20.4.7 -X DELETE\n\n\
Examples:\n  \
sluice identity set 10.20.4.7 --user alice --group staff --ttl 8h\n  \
sluice identity clear 10.20.4.7 --user alice\n  \
sluice identity list"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Have an address stand for a user for a time.
    Set(Set),
    /// Have the daemon forget who has an address.
    Clear(Clear),
    /// Show every address that stands for somebody, as told or learned.
    List(List),
}

/// Whom to ask, and how to show it.
#[derive(clap::Args)]
struct Common {
    /// The configuration of the daemon; without it the default one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON: one object, for a list one a line.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Set {
    /// The client's address.
    #[arg(value_name = "ADDR")]
    address: IpAddr,
    /// Who has it.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A group that the user is in, besides those of the configuration; repeatable.
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// For how long, such as "8h"; without it as `ttl` in `[identity]` says.
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Clear {
    /// The client's address.
    #[arg(value_name = "ADDR")]
    address: IpAddr,
    /// Only if this user has it: for the end of a session that may come late.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    common: Common,
}

impl Common {
    fn listeners(&self) -> anyhow::Result<Vec<AdminListener>> {
        Ok(kernel_state::config_or_default(self.config.as_deref())?
            .admin
            .listen)
    }

    fn show(
        &self,
        value: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            format!("{}\n", serde_json::to_string(value)?)
        } else {
            text()
        };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}

/// Tells the daemon who has an address, has it forget that, or lists what it knows so.
///
/// # Errors
///
/// The configuration has mistakes, no daemon answers, or the daemon refuses.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Set(set) => tell(set)?,
        Verb::Clear(clear) => forget(&clear)?,
        Verb::List(all) => list(&all.common)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(set: Set) -> anyhow::Result<()> {
    let telling = Telling {
        user: set.user,
        groups: set.group,
        ttl: set.ttl,
    };
    let whois = ask::tell_identity(&set.common.listeners()?, set.address, &telling)?;
    set.common.show(&whois, || {
        let Whois { address, .. } = &whois;
        let mut text = format!("{address} {}\n", whois.line());
        if !whois.unknown_groups.is_empty() {
            let names = whois.unknown_groups.join(", ");
            text += &format!("{address} is in groups that the policy has none of: {names}\n");
        }
        text
    })
}

fn forget(clear: &Clear) -> anyhow::Result<()> {
    let Clear {
        address,
        user,
        common,
    } = clear;
    let forgetting = Forgetting { user: user.clone() };
    let forgotten = ask::forget_identity(&common.listeners()?, *address, &forgetting)?;
    common.show(&forgotten, || match (&forgotten, user) {
        (Forgotten { forgotten: 0 }, Some(user)) => {
            format!("{address} did not stand for {user}\n")
        }
        (Forgotten { forgotten: 0 }, None) => format!("{address} did not stand for anybody\n"),
        _ => format!("forgot who has {address}\n"),
    })
}

fn list(common: &Common) -> anyhow::Result<()> {
    let listeners = common.listeners()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut after = None;
    loop {
        let page = ask::identities(&listeners, after)?;
        for listed in &page.identities {
            if common.json {
                serde_json::to_writer(&mut out, listed)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", line(listed))?;
            }
        }
        after = page.identities.last().map(|last| last.address);
        if !page.more || after.is_none() {
            break;
        }
    }
    if after.is_none() && !common.json {
        writeln!(out, "no address stands for anybody")?;
    }
    Ok(out.flush()?)
}

fn line(listed: &Listed) -> String {
    let groups = if listed.groups.is_empty() {
        String::new()
    } else {
        format!(" in {}", listed.groups.join(", "))
    };
    let how = match (listed.source, &listed.learned_from) {
        (Believed::Learned, Some(from)) => format!("learned from {from}"),
        (Believed::Learned, None) => "learned".into(),
        _ => "told".into(),
    };
    let left = span(listed.seconds_left);
    format!(
        "{} {}{groups}; {how}, for {left}",
        listed.address, listed.user
    )
}
