//! Users and groups in files, as Apache's `htpasswd` and `AuthGroupFile` have them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use aws_lc_rs::digest;
use sluice_policy::LineError;

use super::hash::Hash;

/// Users that one file may hold.
pub const USERS_LIMIT: usize = 1_000_000;

/// Who may log in, and by which hash.
///
/// User names are compared byte by byte: `Alice` and `alice` are two.
#[derive(Clone, Default)]
pub struct Users {
    places: HashMap<Box<str>, usize>,
    hashes: Vec<Hash>,
    groups: HashMap<Box<str>, Box<[Box<str>]>>,
    /// SHA-256 of both texts.
    digest: [u8; 32],
    /// Chooses for whom nobody knows whose hash is held against instead.
    stranger: RandomState,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.hashes.len())
    }
}

/// The same texts were read.
impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Users {}

impl Users {
    /// Reads lines of `user:hash`, and notes up to `most` mistakes.
    #[must_use]
    pub fn read(text: &str, errors: &mut Vec<LineError>, most: usize) -> Self {
        let mut users = Self::default();
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for (line, content) in lines_of(text) {
            let read = user_line(content).and_then(|(name, hash)| {
                if let Some(first) = lines.get(name) {
                    return Err(format!(
                        "the user \"{name}\" stands in line {first} already: take one of the two out"
                    ));
                }
                if users.hashes.len() >= USERS_LIMIT {
                    return Err(format!("more than {USERS_LIMIT} users: use a directory"));
                }
                Ok((name, hash))
            });
            match read {
                Ok((name, hash)) => {
                    lines.insert(name, line);
                    users.places.insert(name.into(), users.hashes.len());
                    users.hashes.push(hash);
                }
                Err(message) => note(errors, most, line, message),
            }
            if errors.len() >= most {
                break;
            }
        }
        users.stamp(&[text]);
        users
    }

    /// Reads lines of `group: user user`, and notes up to `most` mistakes. A group may have several
    /// lines, and users that cannot log in.
    pub fn read_groups(&mut self, text: &str, errors: &mut Vec<LineError>, most: usize) {
        let mut groups: HashMap<&str, Vec<Box<str>>> = HashMap::new();
        for (line, content) in lines_of(text) {
            let name_of = |name: &str| {
                let name = name.trim();
                is_name(name).then(|| Box::<str>::from(name))
            };
            let Some((name, members)) = content
                .split_once(':')
                .and_then(|(name, members)| Some((name_of(name)?, members)))
            else {
                note(
                    errors,
                    most,
                    line,
                    "expected the name of a group, a colon, and users with spaces between them"
                        .into(),
                );
                continue;
            };
            for user in members.split_ascii_whitespace() {
                let of_user = groups.entry(user).or_default();
                if !of_user.contains(&name) {
                    of_user.push(name.clone());
                }
            }
        }
        self.groups = groups
            .into_iter()
            .map(|(user, groups)| (user.into(), groups.into_boxed_slice()))
            .collect();
        let before = self.digest;
        self.stamp(&[text]);
        let mut both = digest::Context::new(&digest::SHA256);
        both.update(&before);
        both.update(&self.digest);
        self.digest.copy_from_slice(both.finish().as_ref());
    }

    fn stamp(&mut self, texts: &[&str]) {
        let mut context = digest::Context::new(&digest::SHA256);
        for text in texts {
            context.update(text.as_bytes());
        }
        self.digest.copy_from_slice(context.finish().as_ref());
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The groups of a user.
    #[must_use]
    pub fn groups(&self, user: &str) -> &[Box<str>] {
        self.groups.get(user).map(|groups| &**groups).unwrap_or(&[])
    }

    /// Whether a user has a password. For a user whom nobody knows the hash of one who is known is
    /// held against, always of the same one, so that the time does not tell who is known. Takes
    /// from a millisecond to seconds of one core.
    #[must_use]
    pub fn is_right(&self, user: &str, password: &str) -> bool {
        let known = self.places.get(user).copied();
        let count = u64::try_from(self.hashes.len()).unwrap_or(u64::MAX);
        let stranger = self
            .stranger
            .hash_one(user)
            .checked_rem(count)
            .and_then(|place| usize::try_from(place).ok());
        let Some(hash) = known.or(stranger).and_then(|place| self.hashes.get(place)) else {
            return false;
        };
        let fits = hash.is_of(password);
        fits && known.is_some()
    }
}

/// The lines that say something, with their numbers from 1. A `#` inside a line is part of it.
fn lines_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn note(errors: &mut Vec<LineError>, most: usize, line: usize, message: String) {
    if errors.len() < most {
        errors.push(LineError { line, message });
    }
}

fn user_line(content: &str) -> Result<(&str, Hash), String> {
    let (name, hash) = content
        .split_once(':')
        .ok_or("expected a user, a colon, and the hash that `htpasswd -B` makes")?;
    if !is_name(name) {
        return Err("the user: expected a name of at most 200 bytes".into());
    }
    Hash::read(hash)
        .map(|hash| (name, hash))
        .map_err(|error| format!("\"{name}\": {error}"))
}

fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control)
}
