//! Who has continued from which warning.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{hmac, rand::SystemRandom};
use http::{HeaderMap, Method};

use super::{PROCEED_PATH, RandomError, hex, proceed::Denied};

/// Who is warned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Visitor<'a> {
    /// A client of whom nobody knows who it is.
    Address(IpAddr),
    /// A user.
    User(&'a str),
}

/// Who is warned of what: a warning is continued from for these three together.
#[derive(Clone, Copy, Debug)]
pub struct Warned<'a> {
    /// Who.
    pub visitor: Visitor<'a>,
    /// The site: an authority in its normal form.
    pub site: &'a str,
    /// The name of the rule.
    pub rule: &'a str,
}

/// How a warning can be continued from: what its form posts.
#[derive(Clone, Debug)]
pub struct Offer {
    token: String,
    return_to: String,
    repeats: bool,
}

impl Offer {
    /// What the visitor proves with that the page was shown.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The path on the site to go on with.
    #[must_use]
    pub fn return_to(&self) -> &str {
        &self.return_to
    }

    /// Whether going on repeats the request that was warned of.
    pub(super) const fn repeats(&self) -> bool {
        self.repeats
    }

    pub(super) fn sample() -> Self {
        Self {
            token: "0a1b2c".into(),
            return_to: "/<x-probe>".into(),
            repeats: true,
        }
    }
}

/// Seconds for which a page can be continued from.
const TOKEN_LIFE: u64 = 600;

/// Seconds by which the clock may be set back between page and answer.
const CLOCK_SLACK: u64 = 60;

/// Warnings that were continued from, until when; of a bounded number, beyond which the oldest is
/// forgotten, and its visitor warned once more.
///
/// One is kept for the life of the process, over every reload: its key is random and never leaves it.
/// The time is given in seconds since 1970, as [`super::About::time`] has it.
///
/// A token is an HMAC-SHA256 over who was warned, of which site, by which rule, when and for how
/// long. It stands in the body of a page that only its visitor reads, and counts for ten minutes. It
/// may be used twice to no avail: the period begins when the page was shown.
#[derive(Debug)]
pub struct Warnings {
    key: hmac::Key,
    capacity: usize,
    table: Mutex<Table>,
}

type Digest = [u8; 16];

#[derive(Debug, Default)]
struct Table {
    /// Until when, and the place in the order.
    until: HashMap<Digest, (u64, u64)>,
    order: BTreeMap<u64, Digest>,
    next: u64,
}

impl Table {
    fn insert(&mut self, key: Digest, until: u64, capacity: usize) {
        if let Some((_, place)) = self.until.get(&key) {
            self.order.remove(place);
        } else if self.until.len() >= capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.until.remove(&oldest);
        }
        self.order.insert(self.next, key);
        self.until.insert(key, (until, self.next));
        self.next += 1;
    }
}

/// The part of a token that its MAC is over: a version, when, for how long, and the rule.
const HEAD: usize = 1 + 8 + 4 + 16;
const VERSION: u8 = 1;

impl Warnings {
    /// No warning is continued from yet; of those that will be, `capacity` are remembered.
    ///
    /// # Errors
    ///
    /// [`RandomError`], where the system gives no random bytes for the key.
    pub fn new(capacity: usize) -> Result<Self, RandomError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            key: key.map_err(|_| RandomError)?,
            capacity: capacity.max(1),
            table: Mutex::default(),
        })
    }

    /// Whether a warning was continued from, so that its page is not due.
    #[must_use]
    pub fn has_continued(&self, warned: &Warned<'_>, now: i64) -> bool {
        let key = self.entry(warned.visitor, warned.site, &self.rule(warned.rule));
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let until = table.until.get(&key);
        until.is_some_and(|&(until, _)| seconds(now) < until)
    }

    /// How the page of a warning is continued from, for a request to `path`; the rule warns once per
    /// `period` seconds. A request by another method than GET and HEAD is not repeated: going on
    /// leads to the site's front page.
    ///
    /// None where the page is not shown to a person by navigating to it (Fetch Metadata): a script of
    /// the site could read the token from it and continue by itself.
    #[must_use]
    pub fn offer(
        &self,
        warned: &Warned<'_>,
        period: u64,
        method: &Method,
        headers: &HeaderMap,
        path: &str,
        now: i64,
    ) -> Option<Offer> {
        let is = |name: &str, wanted: &str| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| value.as_bytes() == wanted.as_bytes())
        };
        if !is("sec-fetch-mode", "navigate") || !is("sec-fetch-dest", "document") {
            return None;
        }
        let repeats = matches!(*method, Method::GET | Method::HEAD);
        let returns = repeats && path.starts_with('/') && !path.starts_with(PROCEED_PATH);
        Some(Offer {
            token: self.token(warned, period, now),
            return_to: if returns { path } else { "/" }.to_owned(),
            repeats,
        })
    }

    fn token(&self, warned: &Warned<'_>, period: u64, now: i64) -> String {
        let period = u32::try_from(period).unwrap_or(u32::MAX);
        let mut token = vec![VERSION];
        token.extend(seconds(now).to_be_bytes());
        token.extend(period.to_be_bytes());
        token.extend(self.rule(warned.rule));
        let mac = self.mac(warned.visitor, warned.site, &token);
        token.extend(mac.as_ref());
        hex(&token)
    }

    /// Lets a visitor continue who has the token of a page; says until when.
    pub(super) fn accept(
        &self,
        visitor: Visitor<'_>,
        site: &str,
        token: &str,
        now: i64,
    ) -> Result<u64, Denied> {
        let token = unhex(token).ok_or(Denied::Token)?;
        let (head, mac) = token.split_at_checked(HEAD).ok_or(Denied::Token)?;
        hmac::verify(&self.key, &mac_input(visitor, site, head), mac).map_err(|_| Denied::Token)?;
        let [VERSION, fields @ ..] = head else {
            return Err(Denied::Token);
        };
        let (issued, fields) = fields.split_first_chunk().ok_or(Denied::Token)?;
        let (period, rule) = fields.split_first_chunk().ok_or(Denied::Token)?;
        let rule: &Digest = rule.try_into().map_err(|_| Denied::Token)?;
        let (issued, now) = (u64::from_be_bytes(*issued), seconds(now));
        let until = issued.saturating_add(u32::from_be_bytes(*period).into());
        if issued > now + CLOCK_SLACK || now >= until || now - issued.min(now) > TOKEN_LIFE {
            return Err(Denied::Expired);
        }
        let key = self.entry(visitor, site, rule);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(key, until, self.capacity);
        Ok(until)
    }

    fn mac(&self, visitor: Visitor<'_>, site: &str, head: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &mac_input(visitor, site, head))
    }

    /// What stands for a rule in tokens and in the table, which hold nothing of any length.
    fn rule(&self, name: &str) -> Digest {
        self.digest(&[b"rule", name.as_bytes()])
    }

    fn entry(&self, visitor: Visitor<'_>, site: &str, rule: &Digest) -> Digest {
        self.digest(&[b"entry", &mac_input(visitor, site, rule)])
    }

    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let tag = hmac::sign(&self.key, &parts.concat());
        let half = tag.as_ref().first_chunk();
        half.copied().unwrap_or_default()
    }
}

/// Who, which site and what else, with their lengths, so that no two inputs are alike.
fn mac_input(visitor: Visitor<'_>, site: &str, rest: &[u8]) -> Vec<u8> {
    let (kind, who) = match visitor {
        Visitor::User(name) => (b"user", name.as_bytes().to_vec()),
        Visitor::Address(address) => (b"addr", address.to_canonical().to_string().into_bytes()),
    };
    let mut input = kind.to_vec();
    for part in [who.as_slice(), site.as_bytes(), rest] {
        input.extend((part.len() as u64).to_be_bytes());
        input.extend(part);
    }
    input
}

fn seconds(time: i64) -> u64 {
    u64::try_from(time).unwrap_or_default()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // The length of every token there is.
    if text.len() != (HEAD + 32) * 2 {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const HOUR: u64 = 3600;

    fn warned(user: &'static str, site: &'static str) -> Warned<'static> {
        Warned {
            visitor: Visitor::User(user),
            site,
            rule: "games",
        }
    }

    fn token(warnings: &Warnings, warned: &Warned<'_>, period: u64) -> String {
        warnings.token(warned, period, NOW)
    }

    #[test]
    fn whoever_continues_is_not_warned_again_within_the_period() {
        let warnings = Warnings::new(16).unwrap();
        let alice = warned("alice", "a.example");
        assert!(!warnings.has_continued(&alice, NOW));
        let token = token(&warnings, &alice, HOUR);
        let until = warnings.accept(alice.visitor, alice.site, &token, NOW + 5);
        assert_eq!(until, Ok(NOW as u64 + HOUR));
        assert!(warnings.has_continued(&alice, NOW + 3599));
        assert!(!warnings.has_continued(&alice, NOW + 3600));
        for other in [
            warned("bob", "a.example"),
            warned("alice", "b.example"),
            Warned {
                rule: "shops",
                ..alice
            },
            Warned {
                visitor: Visitor::Address([10, 0, 0, 1].into()),
                ..alice
            },
        ] {
            assert!(!warnings.has_continued(&other, NOW + 5), "{other:?}");
        }
    }

    #[test]
    fn a_token_counts_for_its_visitor_and_site_alone() {
        let warnings = Warnings::new(16).unwrap();
        let alice = warned("alice", "a.example");
        let token = token(&warnings, &alice, HOUR);
        let accept = |visitor, site, token: &str| warnings.accept(visitor, site, token, NOW);
        let refused = Err(Denied::Token);
        assert_eq!(accept(Visitor::User("bob"), "a.example", &token), refused);
        assert_eq!(accept(Visitor::User("alice"), "b.example", &token), refused);
        assert_eq!(
            accept(Visitor::Address([10, 0, 0, 1].into()), "a.example", &token),
            refused
        );
        // A user of the name of an address is not that address.
        let by_address = Visitor::Address([10, 0, 0, 1].into());
        let of_address = warnings.token(
            &Warned {
                visitor: by_address,
                ..alice
            },
            HOUR,
            NOW,
        );
        assert_eq!(
            accept(Visitor::User("10.0.0.1"), "a.example", &of_address),
            refused
        );
        let mapped = Visitor::Address("::ffff:10.0.0.1".parse().unwrap());
        assert!(accept(mapped, "a.example", &of_address).is_ok());
        // Another process has another key.
        let other = Warnings::new(16).unwrap();
        assert_eq!(
            other.accept(alice.visitor, alice.site, &token, NOW),
            refused
        );
    }

    #[test]
    fn every_forged_token_is_refused() {
        let warnings = Warnings::new(16).unwrap();
        let alice = warned("alice", "a.example");
        let token = token(&warnings, &alice, HOUR);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            let refused = warnings.accept(alice.visitor, alice.site, &forged, NOW);
            assert_eq!(refused, Err(Denied::Token), "{at}");
        }
        for forged in [
            "",
            "00",
            &token[2..],
            &format!("{token}00"),
            &"g".repeat(token.len()),
        ] {
            let refused = warnings.accept(alice.visitor, alice.site, forged, NOW);
            assert_eq!(refused, Err(Denied::Token), "{forged}");
        }
        assert!(!warnings.has_continued(&alice, NOW));
    }

    #[test]
    fn a_token_ages_and_using_it_twice_gains_nothing() {
        let warnings = Warnings::new(16).unwrap();
        let alice = warned("alice", "a.example");
        let long = token(&warnings, &alice, HOUR);
        let accept = |token: &str, now| warnings.accept(alice.visitor, alice.site, token, now);
        let until = NOW as u64 + HOUR;
        assert_eq!(accept(&long, NOW), Ok(until));
        assert_eq!(accept(&long, NOW + 600), Ok(until));
        assert_eq!(accept(&long, NOW + 601), Err(Denied::Expired));
        assert_eq!(accept(&long, NOW - 61), Err(Denied::Expired));
        assert!(!warnings.has_continued(&alice, NOW + 3600));
        let short = token(&warnings, &alice, 60);
        assert_eq!(accept(&short, NOW + 60), Err(Denied::Expired));
    }

    #[test]
    fn beyond_its_capacity_the_oldest_is_forgotten() {
        let warnings = Warnings::new(2).unwrap();
        let continues = |site: &'static str| {
            let warned = warned("alice", site);
            let token = token(&warnings, &warned, HOUR);
            warnings.accept(warned.visitor, site, &token, NOW).unwrap();
        };
        let has = |site| warnings.has_continued(&warned("alice", site), NOW);
        continues("a.example");
        continues("b.example");
        continues("a.example");
        continues("c.example");
        assert_eq!(
            (has("a.example"), has("b.example"), has("c.example")),
            (true, false, true)
        );
        let table = warnings.table.lock().unwrap();
        assert_eq!((table.until.len(), table.order.len()), (2, 2));
    }

    #[test]
    fn only_a_person_who_navigates_is_offered_to_continue() {
        let warnings = Warnings::new(2).unwrap();
        let offer = |method: Method, fields: &[(&'static str, &str)], path| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().unwrap());
            }
            let warned = warned("alice", "a.example");
            warnings.offer(&warned, HOUR, &method, &headers, path, NOW)
        };
        let navigates = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let made = offer(Method::GET, &navigates, "/x?y").unwrap();
        assert_eq!((made.return_to(), made.repeats()), ("/x?y", true));
        let posted = offer(Method::POST, &[], "/x").unwrap();
        assert_eq!((posted.return_to(), posted.repeats()), ("/", false));
        assert_eq!(
            offer(Method::GET, &[], PROCEED_PATH).unwrap().return_to(),
            "/"
        );
        for fields in [
            [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            [
                ("sec-fetch-mode", "no-cors"),
                ("sec-fetch-dest", "document"),
            ],
        ] {
            assert!(offer(Method::GET, &fields, "/").is_none(), "{fields:?}");
        }
    }
}
