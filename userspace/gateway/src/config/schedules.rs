//! Schedules.

use jiff::{
    civil::{Date, Weekday},
    tz::TimeZone,
};
use sluice_policy::{Schedule, ScheduleId, TimeRange, Weekdays};

use super::{
    names::{Named, Names, named, numbers},
    problem::near_miss,
    read::{Keys, Section},
};

const SCHEDULE: Keys = Keys {
    known: &["name", "days", "times", "dates", "zone"],
    later: &[],
};

/// The days in the order of the week, as they are written.
pub(super) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// Reads the schedules of a document.
pub(super) fn schedules(top: &Section<'_>, names: &mut Names) -> Vec<Schedule> {
    let sections = named(top, "schedule", SCHEDULE);
    names.schedules = numbers(&sections, ScheduleId);
    sections
        .into_iter()
        .map(|Named { name, section }| {
            for key in ["days", "times", "dates"] {
                if let Some(item) = section.get(key).filter(|item| item.each().is_empty()) {
                    item.note("an empty list never holds: write a value, or take the key out");
                }
            }
            let every_day = || vec![DAYS.map(|(_, day)| day).to_vec()];
            let days = section.list("days", every_day, days);
            Schedule {
                name,
                days: Weekdays::of(days.into_iter().flatten()),
                times: section.list("times", Vec::new, time),
                dates: section.list("dates", Vec::new, dates),
                zone: section.value("zone", TimeZone::UTC, zone),
            }
        })
        .collect()
}

fn days(text: &str) -> Result<Vec<Weekday>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    let count = usize::try_from(first.until(last)).unwrap_or_default() + 1;
    let week = DAYS.iter().map(|&(_, day)| day).cycle();
    Ok(week.skip_while(|&day| day != first).take(count).collect())
}

fn day(text: &str) -> Result<Weekday, String> {
    let lower = text.to_lowercase();
    let found = DAYS.iter().find(|&&(name, _)| name == text);
    found.map(|&(_, day)| day).ok_or_else(|| {
        let meant = DAYS.iter().find(|&&(name, _)| lower.starts_with(name));
        let meant = meant.map(|&(name, _)| format!(": did you mean \"{name}\"?"));
        format!(
            "expected a day such as \"mon\" or days such as \"mon-fri\"{}",
            meant.unwrap_or_default()
        )
    })
}

fn time(text: &str) -> Result<TimeRange, String> {
    const EXPECTED: &str =
        "expected two times of the day from \"00:00\" to \"24:00\", as in \"08:00-18:00\"";
    let ends = text
        .split_once('-')
        .and_then(|(from, to)| minute(from).zip(minute(to)));
    let (from, to) = ends
        .filter(|&(from, _)| from < MINUTES_OF_A_DAY)
        .ok_or(EXPECTED)?;
    if from == to {
        return Err(
            "the range ends where it begins: for the whole day write \"00:00-24:00\"".into(),
        );
    }
    Ok(TimeRange { from, to })
}

fn minute(text: &str) -> Option<u16> {
    let number = |text: &str, most: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.filter(|&number: &u16| number <= most)
    };
    let (hour, minute) = text.split_once(':')?;
    let minute = number(hour, 24)? * 60 + number(minute, 59)?;
    (minute <= MINUTES_OF_A_DAY).then_some(minute)
}

fn dates(text: &str) -> Result<(Date, Date), String> {
    const EXPECTED: &str =
        "expected a date such as \"2027-01-01\" or dates such as \"2026-12-24..2026-12-26\"";
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    // The parser would take a time behind it, too.
    let date = |text: &str| text.parse().ok().filter(|_| text.len() == 10);
    let (first, last): (Date, Date) = date(first).zip(date(last)).ok_or(EXPECTED)?;
    if last < first {
        return Err(format!(
            "the range ends before it begins: write \"{last}..{first}\""
        ));
    }
    Ok((first, last))
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| {
        let zones: Vec<_> = jiff::tz::db()
            .available()
            .map(|name| name.as_str().to_owned())
            .collect();
        let meant = near_miss(text, zones.iter().map(String::as_str));
        let meant = meant.map(|name| format!(": did you mean \"{name}\"?"));
        format!(
            "expected the name of a time zone such as \"Europe/Berlin\" or \"UTC\"{}",
            meant.unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read() {
        use Weekday::{Monday, Saturday, Sunday};
        assert_eq!(days("sun"), Ok(vec![Sunday]));
        assert_eq!(days("sat-mon"), Ok(vec![Saturday, Sunday, Monday]));
        assert_eq!(days("mon-sun").map(|days| days.len()), Ok(7));
        assert_eq!(
            time("22:30-06:00"),
            Ok(TimeRange {
                from: 1350,
                to: 360
            })
        );
        assert_eq!(time("00:00-24:00").map(|range| range.to), Ok(1440));
        for text in [
            "",
            "8:00-18:00",
            "24:00-08:00",
            "08:00",
            "08:00-24:01",
            "08:60-09:00",
            "+8:00-09:00",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
