//! Which records are shown.

use sluice_abi::Reason;
use sluice_policy::{HostPattern, Net};

use super::record::{Kind, Record};
use crate::config::near_miss;

/// The verdicts of every kind of record.
const VERDICTS: [&str; 8] = [
    "splice",
    "intercept",
    "block",
    "allow",
    "warn",
    "drop",
    "reject",
    "refused",
];

/// What a record has to be; a list without anything asks for nothing, and one of several will do.
#[derive(clap::Args, Debug, Default)]
pub(super) struct Filter {
    /// Only clients with this address, or of this network, such as 10.20.0.0/16.
    #[arg(long, value_name = "CIDR", value_parser = net)]
    client: Vec<Net>,
    /// Only this user.
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// Only this host: "name" itself, "*.name" those below it, ".name" both.
    #[arg(long, value_name = "PATTERN", value_parser = host)]
    host: Vec<HostPattern>,
    /// Only this verdict: splice, intercept or block of flows, allow, warn or block of requests, drop
    /// or reject of packets.
    #[arg(long, value_name = "WORD", value_parser = clap::builder::PossibleValuesParser::new(VERDICTS))]
    verdict: Vec<String>,
    /// Only this reason, a word of REASONS.md.
    #[arg(long, value_name = "WORD", value_parser = reason)]
    reason: Vec<String>,
    /// Only what this rule decided.
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// Only what was decrypted.
    #[arg(long)]
    decrypted: bool,
    /// Only records of this kind.
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Vec<Kind>,
}

impl Filter {
    /// Whether a record is shown.
    pub(super) fn takes(&self, record: &Record) -> bool {
        let client = |net: &Net| record.client.is_some_and(|client| net.contains(client));
        let host = |pattern: &HostPattern| {
            record
                .host
                .as_deref()
                .is_some_and(|host| pattern.matches(host))
        };
        let is = |wanted: &[String], found: Option<&str>| {
            wanted.is_empty() || wanted.iter().any(|one| Some(one.as_str()) == found)
        };
        (self.client.is_empty() || self.client.iter().any(client))
            && is(&self.user, record.user.as_deref())
            && (self.host.is_empty() || self.host.iter().any(host))
            && is(&self.verdict, Some(&record.verdict))
            && is(&self.reason, Some(&record.reason))
            && is(&self.rule, record.rule.as_deref())
            && (!self.decrypted || record.decrypted)
            && (self.kind.is_empty() || self.kind.contains(&record.kind))
    }
}

fn net(text: &str) -> Result<Net, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn host(text: &str) -> Result<HostPattern, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn reason(text: &str) -> Result<String, String> {
    let names = || Reason::ALL.iter().map(|reason| reason.name());
    if names().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(match near_miss(text, names()) {
        Some(name) => format!("there is no such reason: did you mean \"{name}\"?"),
        None => "there is no such reason: REASONS.md has them all".into(),
    })
}
