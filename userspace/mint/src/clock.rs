//! The two clocks that minting reads, as one trait, so that tests can turn them.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use time::OffsetDateTime;

/// What time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Seconds since 1970 by the clock on the wall, which can be turned, in both directions and by
    /// any amount. Certificates are dated by it.
    fn unix(&self) -> i64;

    /// Time since a moment of the past, which never goes back. Rates are measured by it.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    begin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn unix(&self) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => seconds(since),
            Err(before) => -seconds(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// A moment in seconds since 1970, in the form of RFC 3339 and in UTC; the number itself where it is
/// beyond the year 9999.
#[must_use]
pub fn show_moment(unix: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(unix) else {
        return unix.to_string();
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Reads what [`show_moment`] writes; `None` where it is anything else.
pub(crate) fn read_moment(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u8>().ok();
    let year: i32 = text.get(..4)?.parse().ok()?;
    let month = time::Month::try_from(number(5..7)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, number(8..10)?).ok()?;
    let at = date
        .with_hms(number(11..13)?, number(14..16)?, number(17..19)?)
        .ok()?
        .assume_utc()
        .unix_timestamp();
    // Anything that was read past, a sign or another separator, shows here.
    (show_moment(at) == text).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        assert_eq!(show_moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(show_moment(1_795_651_200), "2026-11-26T00:00:00Z");
        for at in [0, -86_399, 951_782_400, 1_795_651_199, 253_402_300_799] {
            assert_eq!(read_moment(&show_moment(at)), Some(at));
        }
        for text in [
            "",
            "2026-11-26",
            "2026-02-30T00:00:00Z",
            "2026-11-26T00:00:00+01:00",
        ] {
            assert_eq!(read_moment(text), None, "{text}");
        }
        assert_eq!(show_moment(i64::MAX), i64::MAX.to_string());
    }
}
