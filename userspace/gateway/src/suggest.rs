//! Rules that are proposed for software that refuses the CA. Nothing here applies one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use sluice_policy::{Decision, Outcome, Scratch, host::canonical};

use crate::{
    config::Config,
    daemon::records::tells_of_packets,
    explain::{
        Given,
        given::{Address, Field, Text},
    },
    intercept::rejected::Refusal,
};

/// What the proposed rule is called, unless the configuration has a rule of that name.
const NAME: &str = "software that refuses the CA";

/// Who refused the CA for which host.
#[derive(Debug, Default)]
pub struct Refused(BTreeMap<String, BTreeSet<String>>);

/// A host that a rule is proposed for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Suggestion {
    /// The server name.
    pub host: String,
    /// How many clients refused the CA for it.
    pub clients: usize,
}

/// Why an access log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A line is no record.
    #[error("{line}: no access record: give the file that `access` in [log] was written to")]
    Line {
        /// Which line, from 1.
        line: u64,
    },
}

/// What of an access record matters here.
#[derive(Deserialize)]
struct Logged {
    client: SocketAddr,
    user: Option<String>,
    sni: Option<String>,
    interception: Option<Interception>,
}

#[derive(Deserialize)]
struct Interception {
    #[serde(default)]
    remembered: bool,
}

impl Refused {
    /// Those that a daemon remembers.
    #[must_use]
    pub fn of_memory(refusals: &[Refusal]) -> Self {
        let mut all = Self::default();
        for refusal in refusals {
            all.add(&refusal.client, refusal.host.as_deref());
        }
        all
    }

    /// Those of an access log, one record a line.
    ///
    /// # Errors
    ///
    /// The log cannot be read, or a line of it is no record.
    pub fn of_log(log: &mut dyn BufRead) -> Result<Self, LogError> {
        let mut all = Self::default();
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            if log.read_line(&mut text)? == 0 {
                break;
            }
            if text.trim().is_empty() {
                continue;
            }
            if tells_of_packets(&text) {
                continue;
            }
            let Ok(record) = serde_json::from_str::<Logged>(&text) else {
                return Err(LogError::Line { line });
            };
            if record.interception.is_some_and(|told| told.remembered) {
                let address = record.client.ip().to_string();
                all.add(&record.user.unwrap_or(address), record.sni.as_deref());
            }
        }
        Ok(all)
    }

    fn add(&mut self, client: &str, host: Option<&str>) {
        // What is no name of a server cannot stand in a rule.
        let Some(Ok(host)) = host.map(canonical) else {
            return;
        };
        let clients = self.0.entry(host.to_ascii_lowercase()).or_default();
        clients.insert(client.to_owned());
    }

    /// The hosts for which so many clients refused the CA, those of most first. With a configuration
    /// only clients count whose next attempt its rules do not let through already.
    #[must_use]
    pub fn suggestions(&self, least: usize, config: Option<&Config>) -> Vec<Suggestion> {
        let mut scratch = Scratch::default();
        let mut counts = |host: &str, clients: &BTreeSet<String>| match config {
            None => clients.len(),
            Some(config) => {
                let clients = clients.iter();
                clients
                    .filter(|client| !lets_through(config, client, host, &mut scratch))
                    .count()
            }
        };
        let hosts = self.0.iter();
        let mut found: Vec<_> = hosts
            .map(|(host, clients)| Suggestion {
                clients: counts(host, clients),
                host: host.clone(),
            })
            .filter(|suggestion| suggestion.clients >= least.max(1))
            .collect();
        found.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.clients));
        found
    }
}

/// Whether the rules let a client through, unread, that is known to have refused the CA.
fn lets_through(config: &Config, client: &str, host: &str, scratch: &mut Scratch) -> bool {
    let mut given = Given {
        host: Field::Is(Text(host.into())),
        tls: Field::Is(Text("client-rejected-ca".into())),
        ..Given::default()
    };
    match client.parse::<IpAddr>() {
        Ok(address) => given.client = Field::Is(Address(address)),
        Err(_) => given.user = Field::Is(Text(client.into())),
    }
    let Ok(prepared) = given.prepare() else {
        return false;
    };
    let facts = prepared.facts(&config.policy);
    matches!(
        config.policy.decide(&facts, scratch),
        Decision::Decided(decided) if matches!(decided.outcome, Outcome::Allow | Outcome::Splice)
    )
}

/// The rule for those hosts, in TOML, with what to think of before it is taken; `None` where there
/// are none.
#[must_use]
pub fn rule(suggestions: &[Suggestion], config: Option<&Config>) -> Option<String> {
    if suggestions.is_empty() {
        return None;
    }
    let is_taken = |name: &str| {
        let rules = config.map(|config| config.policy.rules());
        rules.is_some_and(|rules| rules.iter().any(|rule| rule.name == name))
    };
    let name = (1..)
        .map(|number: u32| match number {
            1 => NAME.to_owned(),
            number => format!("{NAME} ({number})"),
        })
        .find(|name| !is_taken(name))?;
    let mut text = String::from(
        "# Clients that refuse the CA for these hosts are let through unread from their second\n\
         # attempt on; all others are decrypted as before. Any client can claim that it refuses:\n\
         # name no host that has to be looked into. To be put before the rules that decrypt.\n",
    );
    let mut hosts = String::new();
    for Suggestion { host, clients } in suggestions {
        let host = toml::Value::String(host.clone());
        hosts.push_str(&format!("  {host},  # refused by {clients}\n"));
    }
    text.push_str(&format!(
        "[[rule]]\n\
         name = {}\n\
         comment = \"their software does not accept the CA, as `sluice suggest` found\"\n\
         action = \"splice\"\n\
         [rule.when]\n\
         tls = \"client-rejected-ca\"\n\
         host = [\n{hosts}]\n",
        toml::Value::String(name)
    ));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[gateway]\nlan = [\"lan0\"]\n";

    fn config(rules: &str) -> Config {
        Config::parse(&format!("{CONFIG}{rules}"), "test").unwrap()
    }

    fn refusals(pairs: &[(&str, Option<&str>)]) -> Refused {
        let refusals: Vec<_> = pairs
            .iter()
            .map(|(client, host)| Refusal {
                client: (*client).to_owned(),
                host: host.map(str::to_owned),
                destination: ([192, 0, 2, 1], 443).into(),
                alert: None,
                times: 7,
                seconds_left: 1,
            })
            .collect();
        Refused::of_memory(&refusals)
    }

    fn three_of(host: &str) -> Refused {
        refusals(&[
            ("10.0.0.1", Some(host)),
            ("10.0.0.2", Some(host)),
            ("alice", Some(host)),
        ])
    }

    #[test]
    fn hosts_are_proposed_that_several_clients_refused() {
        let refused = refusals(&[
            ("10.0.0.1", Some("A.example.")),
            ("10.0.0.1", Some("a.example")),
            ("10.0.0.2", Some("a.example")),
            ("alice", Some("a.example")),
            ("10.0.0.1", Some("b.example")),
            ("10.0.0.2", Some("b.example")),
            ("10.0.0.1", None),
            ("10.0.0.2", Some("not a name")),
        ]);
        let suggestion = |host: &str, clients| Suggestion {
            host: host.into(),
            clients,
        };
        let (a, b) = (suggestion("a.example", 3), suggestion("b.example", 2));
        assert_eq!(refused.suggestions(0, None), [a, b]);
        assert_eq!(refused.suggestions(3, None).len(), 1);
        assert_eq!(refused.suggestions(4, None), []);
        assert_eq!(rule(&[], None), None);
    }

    #[test]
    fn what_is_proposed_can_be_taken() {
        let mut text = CONFIG.to_owned();
        let refused = three_of("a.example");
        for (number, least) in [("", 3), (" (2)", 3)] {
            let before = Config::parse(&text, "test").unwrap();
            let found = refused.suggestions(least, None);
            let rule = rule(&found, Some(&before)).unwrap();
            assert!(
                rule.contains(&format!("name = \"{NAME}{number}\"\n")),
                "{rule}"
            );
            assert!(
                rule.contains("  \"a.example\",  # refused by 3\n"),
                "{rule}"
            );
            text.push_str(&rule);
        }
        let taken = Config::parse(&text, "test").unwrap();
        assert_eq!(refused.suggestions(1, Some(&taken)), []);
        assert_eq!(three_of("b.example").suggestions(1, Some(&taken)).len(), 1);
    }

    #[test]
    fn clients_that_are_let_through_already_do_not_count() {
        let config = config(
            "[[user]]\nname = \"alice\"\naddresses = [\"10.0.0.9\"]\n\
             [[rule]]\nname = \"r\"\nwhen = { tls = \"client-rejected-ca\", user = \"alice\" }\n\
             action = \"splice\"\n",
        );
        let found = three_of("a.example").suggestions(1, Some(&config));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].clients, 2);
    }

    #[test]
    fn a_log_tells_of_refusals_and_much_else() {
        let line = |user: &str, sni: &str, remembered: bool| {
            format!(
                "{{\"client\":\"10.0.0.1:5000\",\"user\":{user},\"sni\":{sni},\"interception\":\
                 {{\"remembered\":{remembered}}}}}\n"
            )
        };
        let log = [
            line("\"alice\"", "\"a.example\"", true),
            line("null", "\"a.example\"", true),
            line("\"bob\"", "\"a.example\"", false),
            line("\"bob\"", "null", true),
            "\n{\"client\":\"[::1]:1\",\"user\":null,\"method\":\"GET\"}\n".into(),
            "{\"v\":1,\"kind\":\"packets\",\"client\":\"10.0.0.1\",\"port\":9}\n".into(),
        ]
        .concat();
        let found = Refused::of_log(&mut log.as_bytes())
            .unwrap()
            .suggestions(1, None);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].host.as_str(), found[0].clients), ("a.example", 2));
        let error = Refused::of_log(&mut &b"{\"client\":\"[::1]:1\"}\nwhat\n"[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2: no access record: give the file that `access` in [log] was written to"
        );
    }
}
