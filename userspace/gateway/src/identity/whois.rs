//! Who is behind an address, from all that is known of it, and why that is believed.

use std::{fmt::Write as _, net::IpAddr, path::Path, time::SystemTime};

use serde::{Deserialize, Serialize};
use sluice_policy::{Facts, Policy, Stage};

use super::{Source, addresses::Held};
use crate::{
    ask::{self, AskError},
    config::Config,
    daemon::admin::identity::until,
    explain::{
        Given,
        given::{Field, Text, Texts},
    },
};

/// Why somebody is believed to be behind an address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Believed {
    /// The daemon was told, over its admin socket.
    Told,
    /// A proxy listener saw the user there.
    Learned,
    /// A `[[user]]` or a file of `[identity]` says so.
    Configuration,
}

/// Why somebody is believed to be in a group.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Through {
    /// The daemon was told it with the user.
    Told,
    /// Whoever accepted the user's credentials said so.
    Learned,
    /// A `[[group]]` names the user, or a group that does.
    User,
    /// A `[[group]]` names the address, or a group that does.
    Address,
}

/// A group, and why the client is in it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Member {
    /// The name of the group.
    pub name: String,
    /// Every reason to believe it.
    pub sources: Vec<Through>,
}

/// Who was asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "asked")]
pub enum Asked {
    /// The daemon, which knows whom it was told of.
    Daemon {
        /// The number of its policy.
        generation: u64,
    },
    /// The configuration, which knows nobody else than it names.
    Configuration,
}

/// Who is behind an address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Whois {
    /// The address; an IPv4 address in IPv6 form stands as IPv4.
    pub address: IpAddr,
    /// Who has it, where anybody is known to.
    pub user: Option<String>,
    /// Why that is believed.
    pub source: Option<Believed>,
    /// What accepted the user's credentials, where a proxy listener saw them.
    pub learned_from: Option<String>,
    /// Whom the configuration has at the address, where somebody else is believed.
    pub overruled: Option<String>,
    /// Groups of the policy that the client is in, those that hold others of them included.
    pub groups: Vec<Member>,
    /// Groups that came with the user, as they were told or learned.
    pub told_groups: Vec<String>,
    /// Those of them that the policy has none of.
    pub unknown_groups: Vec<String>,
    /// For how long it is believed still, in seconds; `None`: as long as the configuration holds.
    pub seconds_left: Option<u64>,
    /// The end of that time, in UTC (RFC 3339).
    pub until: Option<String>,
    /// Who was asked.
    #[serde(flatten)]
    pub asked: Asked,
}

/// A source as answers have it, and what accepted the credentials where it was learned.
pub(crate) fn believed(source: &Source) -> (Believed, Option<String>) {
    match source {
        Source::Learned(from) => (Believed::Learned, Some(from.to_string())),
        _ => (Believed::Told, None),
    }
}

impl Whois {
    /// Merges what a policy says of an address with what is held of it.
    #[must_use]
    pub fn of(policy: &Policy, address: IpAddr, held: Option<&Held>, asked: Asked) -> Self {
        let address = address.to_canonical();
        let configured = policy.user_at(address);
        let identity = held.map(|held| &*held.identity);
        let user = identity.map(|identity| &*identity.user).or(configured);
        let (source, learned_from) = match identity {
            Some(identity) => {
                let (source, from) = believed(&identity.source);
                (Some(source), from)
            }
            None => (configured.map(|_| Believed::Configuration), None),
        };
        let open = Facts::at(Stage::Open);
        let mut groups = Vec::new();
        let mut add = |facts: Facts<'_>, through| {
            for name in policy.groups_of(&facts) {
                let known = groups
                    .iter_mut()
                    .find(|group: &&mut Member| group.name == name);
                match known {
                    Some(group) => group.sources.push(through),
                    None => groups.push(Member {
                        name: name.to_owned(),
                        sources: vec![through],
                    }),
                }
            }
        };
        let named = identity.map_or(&[][..], |identity| &identity.groups);
        let through = match source {
            Some(Believed::Learned) => Through::Learned,
            _ => Through::Told,
        };
        add(
            Facts {
                groups: named,
                ..open
            },
            through,
        );
        add(Facts { user, ..open }, Through::User);
        let client = Some(address);
        add(Facts { client, ..open }, Through::Address);
        let unknown = named.iter().filter(|name| {
            let groups = std::slice::from_ref(*name);
            policy.groups_of(&Facts { groups, ..open }).is_empty()
        });
        Self {
            address,
            user: user.map(str::to_owned),
            source,
            learned_from,
            overruled: identity
                .and(configured)
                .filter(|configured| Some(*configured) != user)
                .map(str::to_owned),
            groups,
            told_groups: named.iter().map(ToString::to_string).collect(),
            unknown_groups: unknown.map(ToString::to_string).collect(),
            seconds_left: held.map(|held| held.left.as_secs()),
            until: held.map(|held| until(held.left, SystemTime::now())),
            asked,
        }
    }

    /// Asks the daemon of a configuration, and where none answers the configuration itself; then
    /// the error says why.
    ///
    /// # Errors
    ///
    /// The daemon answers, and refuses.
    pub fn find(config: &Config, address: IpAddr) -> Result<(Self, Option<AskError>), AskError> {
        match ask::whois(&config.admin.listen, address) {
            Ok(whois) => Ok((whois, None)),
            Err(refused @ AskError::Refused(_)) => Err(refused),
            Err(error) => Ok((Self::configured(config, address), Some(error))),
        }
    }

    /// What a configuration alone says of an address.
    #[must_use]
    pub fn configured(config: &Config, address: IpAddr) -> Self {
        Self::of(&config.policy, address, None, Asked::Configuration)
    }

    /// Names who it is in facts that do not say it, where somebody else than a policy knows.
    pub fn name<'g>(&'g self, given: &mut Given<'g>) {
        if let Some(user) = &self.user
            && self.source != Some(Believed::Configuration)
            && !given.user.is_named()
        {
            given.user = Field::Is(Text(user.as_str().into()));
            let told = self.told_groups.iter();
            let mut groups: Vec<_> = told.map(|group| Text(group.as_str().into())).collect();
            if let Field::Is(Texts(more)) = std::mem::take(&mut given.groups) {
                groups.extend(more);
            }
            given.groups = Field::Is(Texts(groups));
        }
    }

    /// Who it is and why, in one line without an end.
    #[must_use]
    pub fn line(&self) -> String {
        let (Some(user), Some(source)) = (&self.user, self.source) else {
            return "nobody is known to have this address".into();
        };
        let why = match source {
            Believed::Told => "as the daemon was told".into(),
            Believed::Learned => {
                let from = self.learned_from.as_deref().unwrap_or("a proxy listener");
                format!("as a proxy listener learned from {from}")
            }
            Believed::Configuration => "as the configuration says".into(),
        };
        match (&self.until, self.seconds_left) {
            (Some(until), Some(left)) => format!("{user}, {why}, until {until} ({})", span(left)),
            _ => format!("{user}, {why}"),
        }
    }

    /// All of it, for people to read; `file` is the configuration.
    #[must_use]
    pub fn text(&self, file: Option<&Path>) -> String {
        let mut text = String::new();
        let row = |text: &mut String, key: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key:<9} {value}");
        };
        row(&mut text, "address", &self.address.to_string());
        row(&mut text, "user", &self.line());
        if let Some(user) = &self.overruled {
            let note = format!("the configuration has {user} at this address, who counts no more");
            row(&mut text, "", &note);
        }
        let groups: Vec<_> = self.groups.iter().map(Member::text).collect();
        let groups = if groups.is_empty() {
            "none".into()
        } else {
            groups.join(", ")
        };
        row(&mut text, "groups", &groups);
        if !self.unknown_groups.is_empty() {
            let names = self.unknown_groups.join(", ");
            row(
                &mut text,
                "",
                &format!("no [[group]] of the policy: {names}"),
            );
        }
        let asked = match (self.asked, file) {
            (Asked::Daemon { generation }, _) => {
                format!("the daemon, whose policy has the number {generation}")
            }
            (Asked::Configuration, Some(file)) => {
                format!("the configuration {} alone", file.display())
            }
            (Asked::Configuration, None) => "the built-in configuration alone".into(),
        };
        row(&mut text, "asked", &asked);
        text
    }
}

impl Member {
    fn text(&self) -> String {
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|through| match through {
                Through::Told => "told",
                Through::Learned => "learned",
                Through::User => "by user",
                Through::Address => "by address",
            })
            .collect();
        format!("{} ({})", self.name, sources.join(", "))
    }
}

/// A number of seconds, rounded for people to read.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", (seconds + 30) / 60),
        7200..=172_799 => format!("{} h", (seconds + 1800) / 3600),
        _ => format!("{} d", (seconds + 43_200) / 86_400),
    }
}
