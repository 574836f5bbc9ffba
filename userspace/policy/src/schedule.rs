//! Times at which rules hold.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};

/// Times of the week, in a time zone, within some dates.
///
/// A time that reaches over midnight belongs to the day on which it begins.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The name.
    pub name: String,
    /// The days of the week.
    pub days: Weekdays,
    /// The times of the day; none: the whole day.
    pub times: Vec<TimeRange>,
    /// The dates, both ends included; none: every date.
    pub dates: Vec<(Date, Date)>,
    /// The zone whose clocks count.
    pub zone: TimeZone,
}

/// A time of the day, the end excluded. An end at or before the beginning lies on the next day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeRange {
    /// Minute of the day at which it begins, 0 to 1439.
    pub from: u16,
    /// Minute of the day at which it ends, 0 to 1440.
    pub to: u16,
}

/// A set of days of the week.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// The set of some days.
    #[must_use]
    pub fn of(days: impl IntoIterator<Item = Weekday>) -> Self {
        Self(days.into_iter().fold(0, |bits, day| bits | bit(day)))
    }

    /// Whether the day is a member.
    #[must_use]
    pub const fn contains(self, day: Weekday) -> bool {
        self.0 & bit(day) != 0
    }
}

const fn bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

impl Schedule {
    /// Whether a moment, in seconds since 1970 in UTC, lies within the schedule.
    #[must_use]
    pub fn contains(&self, time: i64) -> bool {
        let Ok(moment) = Timestamp::from_second(time) else {
            return false;
        };
        let local = self.zone.to_datetime(moment);
        if self.times.is_empty() {
            return self.has_day(local.date());
        }
        let minute = minute(local);
        self.times.iter().any(|range| {
            if range.from < range.to {
                return (range.from..range.to).contains(&minute) && self.has_day(local.date());
            }
            let begun = minute >= range.from && self.has_day(local.date());
            let yesterday = || local.date().yesterday().is_ok_and(|day| self.has_day(day));
            begun || (minute < range.to && yesterday())
        })
    }

    fn has_day(&self, date: Date) -> bool {
        let within = |&(first, last): &(Date, Date)| (first..=last).contains(&date);
        self.days.contains(date.weekday())
            && (self.dates.is_empty() || self.dates.iter().any(within))
    }
}

fn minute(local: DateTime) -> u16 {
    let (hour, minute) = (local.hour().unsigned_abs(), local.minute().unsigned_abs());
    u16::from(hour) * 60 + u16::from(minute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn office() -> Schedule {
        let weekdays = [
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
        ];
        Schedule {
            name: "office hours".into(),
            days: Weekdays::of(weekdays),
            times: vec![TimeRange {
                from: 8 * 60,
                to: 18 * 60,
            }],
            dates: Vec::new(),
            zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        }
    }

    #[test]
    fn clocks_are_those_of_the_zone_in_summer_too() {
        let office = office();
        for (time, within) in [
            ("2026-03-02T06:59:59Z", false),
            ("2026-03-02T07:00:00Z", true),
            ("2026-03-02T16:59:59Z", true),
            ("2026-03-02T17:00:00Z", false),
            ("2026-07-01T06:00:00Z", true),
            ("2026-07-01T16:00:00Z", false),
            ("2026-02-28T10:00:00Z", false),
        ] {
            assert_eq!(office.contains(at(time)), within, "{time}");
        }
        assert!(!office.contains(i64::MAX));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = Schedule {
            days: Weekdays::of([Weekday::Friday]),
            times: vec![TimeRange {
                from: 22 * 60,
                to: 6 * 60,
            }],
            zone: TimeZone::UTC,
            ..office()
        };
        for (time, within) in [
            ("2026-03-06T21:59:00Z", false),
            ("2026-03-06T22:00:00Z", true),
            ("2026-03-07T05:59:00Z", true),
            ("2026-03-07T06:00:00Z", false),
            ("2026-03-07T22:00:00Z", false),
            ("2026-03-06T05:00:00Z", false),
        ] {
            assert_eq!(night.contains(at(time)), within, "{time}");
        }
    }

    #[test]
    fn dates_bound_it() {
        let holidays = Schedule {
            days: Weekdays::ALL,
            times: Vec::new(),
            dates: vec![(date(2026, 12, 24), date(2026, 12, 26))],
            zone: TimeZone::UTC,
            ..office()
        };
        assert!(!holidays.contains(at("2026-12-23T23:59:59Z")));
        assert!(holidays.contains(at("2026-12-24T00:00:00Z")));
        assert!(holidays.contains(at("2026-12-26T23:59:59Z")));
        assert!(!holidays.contains(at("2026-12-27T00:00:00Z")));
    }
}
