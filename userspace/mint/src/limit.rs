//! How many new leaves a client may ask for: a bucket of tokens each, in a bounded table.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Clients that have a bucket of their own at one time. Those that come when all are in use share
/// one.
const CLIENTS: usize = 4096;

/// Least time between two looks for buckets that are full again, so that a full table is not walked
/// for every newcomer.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buckets: HashMap<IpAddr, Bucket>,
    shared: Bucket,
    swept: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// When it had so many.
    at: Duration,
}

impl Limiter {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self {
            per_second: f64::from(per_second),
            burst,
            state: Mutex::new(State {
                buckets: HashMap::new(),
                shared: Bucket {
                    tokens: burst,
                    at: Duration::ZERO,
                },
                swept: None,
            }),
        }
    }

    /// Takes a token of a client at a moment that never goes back; whether there was one.
    pub(crate) fn take(&self, client: IpAddr, now: Duration) -> bool {
        let client = site(client);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State {
            buckets,
            shared,
            swept,
        } = &mut *state;
        if buckets.len() >= CLIENTS
            && !buckets.contains_key(&client)
            && swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP)
        {
            *swept = Some(now);
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
        }
        let bucket = if buckets.len() < CLIENTS || buckets.contains_key(&client) {
            buckets.entry(client).or_insert(Bucket {
                tokens: self.burst,
                at: now,
            })
        } else {
            shared
        };
        let tokens = self.filled(*bucket, now);
        let taken = tokens >= 1.0;
        *bucket = Bucket {
            tokens: if taken { tokens - 1.0 } else { tokens },
            at: now.max(bucket.at),
        };
        taken
    }

    fn filled(&self, bucket: Bucket, now: Duration) -> f64 {
        let since = now.saturating_sub(bucket.at).as_secs_f64();
        (bucket.tokens + since * self.per_second).min(self.burst)
    }
}

/// What one client can choose freely counts as one: of IPv6 the last 64 bits.
fn site(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = Limiter::new(10, 3);
        let at = Duration::from_millis;
        let taken = |now, times| {
            (0..times)
                .filter(|_| limiter.take(client(1), at(now)))
                .count()
        };
        assert_eq!(taken(0, 5), 3);
        assert_eq!(taken(99, 2), 0);
        assert_eq!(taken(250, 5), 2);
        assert_eq!(taken(60_000, 9), 3);
        assert!(limiter.take(client(2), at(0)), "another client has its own");
    }

    #[test]
    fn addresses_of_one_site_share() {
        let limiter = Limiter::new(1, 1);
        let take = |text: &str| limiter.take(text.parse().unwrap(), Duration::ZERO);
        assert!(take("2001:db8:0:1::1"));
        assert!(!take("2001:db8:0:1:ffff::2"));
        assert!(take("2001:db8:0:2::1"));
        assert!(take("192.0.2.1"));
        assert!(!take("::ffff:192.0.2.1"));
    }

    #[test]
    fn the_table_is_bounded_and_makes_room() {
        let limiter = Limiter::new(1, 2);
        let count = || limiter.state.lock().unwrap().buckets.len();
        for number in 0..3 * CLIENTS as u32 {
            limiter.take(client(number), Duration::ZERO);
        }
        assert_eq!(count(), CLIENTS);
        // Newcomers had two tokens among them all.
        assert!(!limiter.take(client(u32::MAX), Duration::ZERO));
        assert!(
            limiter.take(client(0), Duration::ZERO),
            "who was first keeps its own"
        );
        assert!(limiter.take(client(u32::MAX), Duration::from_secs(5)));
        assert_eq!(count(), 1);
    }
}
