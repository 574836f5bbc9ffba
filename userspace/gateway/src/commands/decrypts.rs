//! `sluice decrypts`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use serde::Serialize;
use sluice_policy::{Action, Condition, Fact, FactSet, Facts, Scratch, Stage, compile::FlatRule};

use crate::{
    config::{Config, show},
    explain::{
        Given, concluded,
        given::{Field, Text},
    },
};

/// Arguments of `sluice decrypts`.
#[derive(clap::Args)]
#[command(
    after_help = "A rule is left out only where it is certain that no flow to the host is decrypted \
by it, whoever the client is and whatever the origin answers. Pages are not counted: where a rule \
blocks with a page or warns, the gateway answers in the server's place, and the server sees nothing.\n\n\
Exit status: 0 no rule can have it decrypted, 1 some can, 2 the configuration or the host cannot be \
understood.\n\n\
Examples:\n  \
sluice decrypts --config sluice.toml --host bank.example.com\n  \
sluice decrypts --config sluice.toml --host mail.example.com --user alice --json"
)]
pub struct Args {
    /// The configuration whose policy is asked
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The server's name or address
    #[arg(long)]
    host: String,
    /// Only flows of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A rule that could have a flow decrypted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Could {
    /// The rule.
    pub name: String,
    /// Whether it says so itself; otherwise it asks about requests, or about what is inside TLS,
    /// which only decrypting shows.
    pub inspects: bool,
    /// Its conditions about what only decrypting shows.
    pub conditions: Vec<String>,
}

/// The rules that could ever have flows to a host decrypted.
///
/// # Errors
///
/// The host is none.
pub fn could(config: &Config, host: &str, user: Option<&str>) -> anyhow::Result<Vec<Could>> {
    let given = Given {
        host: Field::Is(Text(host.into())),
        tls: Field::Is(Text("hello".into())),
        user: user.map(|user| Text(user.into())).into(),
        ..Given::default()
    };
    let prepared = given
        .prepare()
        .map_err(|bad| anyhow::anyhow!("--{}: {}", bad.key, bad.message))?;
    let facts: Facts<'_> = prepared.facts(&config.policy);
    let mut known = FactSet::of_all(&[Fact::Host, Fact::HostIsIp, Fact::Tls, Fact::Application]);
    if user.is_some() {
        known = known.union(FactSet::of(Fact::User));
    }
    let ids = config
        .policy
        .could_decrypt(&facts, known, &mut Scratch::default());
    let flat = config.rules.flat()?;
    let rules = ids.into_iter().filter_map(|id| flat.get(id.0 as usize));
    Ok(rules
        .map(|rule: &FlatRule<'_>| Could {
            name: rule.rule.name.clone(),
            inspects: *rule.action == Action::Inspect,
            conditions: rule
                .when()
                .chain(rule.unless())
                .filter(|condition| asks_inside(condition))
                .map(|condition| show::condition(&config.rules, condition))
                .collect(),
        })
        .collect())
}

fn asks_inside(condition: &Condition) -> bool {
    match condition {
        Condition::Not(inner) => inner.iter().any(asks_inside),
        condition => condition
            .fact()
            .is_some_and(|fact| fact.stage() == Stage::Request),
    }
}

/// Runs the command: exit code 0 where no rule can have the host decrypted, 1 where some can, 2
/// where something cannot be understood.
///
/// # Errors
///
/// None: they are told, and give 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    Ok(concluded(answer(args)))
}

fn answer(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        host,
        user,
        json,
    } = args;
    let config = Config::load(&config)?;
    let found = could(&config, &host, user.as_deref())?;
    let mut out = io::stdout().lock();
    if json {
        let object = serde_json::json!({
            "host": host,
            "user": user,
            "can_be_decrypted": !found.is_empty(),
            "ca": config.ca.is_some(),
            "rules": found,
        });
        writeln!(out, "{object}")?;
    } else if found.is_empty() {
        writeln!(out, "no rule can have {host} decrypted")?;
    } else {
        writeln!(out, "{host} can be decrypted by:")?;
        for Could {
            name,
            inspects,
            conditions,
        } in &found
        {
            let why = if *inspects {
                "says \"inspect\"".to_owned()
            } else {
                format!(
                    "asks about what only decrypting shows: {}",
                    conditions.join("; ")
                )
            };
            writeln!(out, "  rule \"{name}\": {why}")?;
        }
        if config.ca.is_none() {
            let told = "no CA is configured: without [ca] such flows are blocked as \
                        stage-unavailable, unless they are cleartext HTTP";
            writeln!(out, "{told}")?;
        }
    }
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
