//! What records tell of people, applied before a record is written anywhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use crate::config::{Addresses, Privacy, Urls, Users};

/// Bytes of a URL that a record has.
pub(super) const URL_LIMIT: usize = 16 << 10;

/// Hexadecimal digits of a pseudonym: 64 bits, which no two of a network's users share by chance.
const DIGITS: usize = 16;

/// A client's address as the settings let it be told.
pub(super) fn address(settings: &Privacy, address: IpAddr) -> IpAddr {
    match (settings.addresses, address) {
        (Addresses::Full, _) => address,
        (Addresses::Truncate, IpAddr::V4(v4)) => {
            IpAddr::V4((v4.to_bits() & (u32::MAX << 8)).into())
        }
        (Addresses::Truncate, IpAddr::V6(v6)) => {
            IpAddr::V6((v6.to_bits() & (u128::MAX << 80)).into())
        }
    }
}

/// A client's address and port as the settings let them be told. A truncated address has no port: by
/// that one the gateway's other traces would lead back to the client.
pub(super) fn client(settings: &Privacy, client: SocketAddr) -> SocketAddr {
    match settings.addresses {
        Addresses::Full => client,
        Addresses::Truncate => (address(settings, client.ip()), 0).into(),
    }
}

/// A URL as the settings let it be told, and whether it was longer than a record has room for.
pub(super) fn url<'u>(settings: &Privacy, url: &'u str) -> (&'u str, bool) {
    let told = match settings.urls {
        Urls::Full => url,
        Urls::NoQuery => url.find('?').and_then(|at| url.get(..at)).unwrap_or(url),
        Urls::Host => {
            let begin = url.find("://").map_or(0, |at| at + 3);
            let rest = url.get(begin..).unwrap_or_default();
            let end = rest
                .find(['/', '?', '#'])
                .map_or(url.len(), |at| begin + at);
            url.get(..end).unwrap_or(url)
        }
    };
    if told.len() <= URL_LIMIT {
        return (told, false);
    }
    let end = (0..=URL_LIMIT)
        .rev()
        .find(|end| told.is_char_boundary(*end));
    let cut = end.and_then(|end| told.get(..end));
    (cut.unwrap_or_default(), true)
}

/// Makes pseudonyms under a key that nobody is told, and that is thrown away with its period.
#[derive(Debug, Default)]
pub(super) struct Pseudonyms(Mutex<Option<(u64, hmac::Key)>>);

impl Pseudonyms {
    /// How a user is called; "-" where the system has no random bytes for a key, since a name that
    /// is to be hidden is never told instead.
    pub(super) fn of(&self, settings: &Privacy, user: &str, now: SystemTime) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = settings.pseudonym_period.as_millis().max(1);
        let period = u64::try_from(since.as_millis() / length).unwrap_or(u64::MAX);
        let mut key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if key.as_ref().is_none_or(|(of, _)| *of != period) {
            *key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                .ok()
                .map(|key| (period, key));
        }
        let Some((_, key)) = &*key else {
            return "-".into();
        };
        let tag = hmac::sign(key, user.as_bytes());
        let mut name: String = tag
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        name.truncate(DIGITS);
        name
    }

    /// What a record says in a user's place.
    pub(super) fn shown(
        &self,
        settings: &Privacy,
        user: Option<&str>,
        now: SystemTime,
    ) -> Option<String> {
        match settings.users {
            Users::Plain => None,
            Users::Pseudonym => user.map(|user| self.of(settings, user, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses_lose_what_tells_a_client_from_its_neighbours() {
        let mut settings = Privacy::default();
        let v4: SocketAddr = "203.0.113.77:4711".parse().unwrap();
        let v6: SocketAddr = "[2001:db8:1:2:3:4:5:6]:4711".parse().unwrap();
        assert_eq!((client(&settings, v4), client(&settings, v6)), (v4, v6));
        settings.addresses = Addresses::Truncate;
        assert_eq!(client(&settings, v4).to_string(), "203.0.113.0:0");
        assert_eq!(client(&settings, v6).to_string(), "[2001:db8:1::]:0");
    }

    #[test]
    fn urls_lose_their_query_or_all_behind_the_authority() {
        let mut settings = Privacy::default();
        let long = format!("https://a.example/{}", "ü".repeat(URL_LIMIT));
        assert!(url(&settings, &long).1);
        assert!(url(&settings, &long).0.len() <= URL_LIMIT);
        for (full, no_query, host) in [
            (
                "https://a.example:8443/x/y?z=1",
                "https://a.example:8443/x/y",
                "https://a.example:8443",
            ),
            (
                "http://[2001:db8::1]/",
                "http://[2001:db8::1]/",
                "http://[2001:db8::1]",
            ),
            (
                "https://a.example?x",
                "https://a.example",
                "https://a.example",
            ),
            ("", "", ""),
        ] {
            for (urls, wanted) in [
                (Urls::Full, full),
                (Urls::NoQuery, no_query),
                (Urls::Host, host),
            ] {
                settings.urls = urls;
                assert_eq!(url(&settings, full), (wanted, false));
            }
        }
    }

    #[test]
    fn pseudonyms_hold_for_a_period_and_no_longer() {
        let settings = Privacy {
            users: Users::Pseudonym,
            ..Privacy::default()
        };
        let pseudonyms = Pseudonyms::default();
        let day = |day: u64, seconds| UNIX_EPOCH + Duration::from_secs(day * 86_400 + seconds);
        let of = |user, now| pseudonyms.of(&settings, user, now);
        let alice = of("alice", day(20_000, 0));
        assert_eq!(alice.len(), DIGITS);
        assert_eq!(of("alice", day(20_000, 86_399)), alice);
        assert_ne!(of("bob", day(20_000, 5)), alice);
        assert_ne!(of("alice", day(20_001, 0)), alice);
        // The key of the first day is gone for good.
        assert_ne!(of("alice", day(20_000, 0)), alice);
        // Another daemon has other keys.
        let other = Pseudonyms::default();
        assert_ne!(other.of(&settings, "alice", day(20_000, 0)), alice);
        assert_eq!(pseudonyms.shown(&settings, None, day(20_000, 0)), None);
    }
}
