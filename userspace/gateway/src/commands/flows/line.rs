//! A record as a line for people.

use super::record::{Kind, Record};
use crate::commands::pipe::safe;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// One line, with its end. What comes from the network is made safe to show.
pub(super) fn text(record: &Record, colours: bool) -> String {
    let or_dash = |text: Option<&str>| match text {
        Some(text) if !text.is_empty() => safe(text).into_owned(),
        _ => "-".to_owned(),
    };
    // Date and time apart, which are easier to read so; in UTC like the record.
    let time = safe(&record.time).replace('T', " ").replace('Z', "");
    let client = record.client.map(|client| client.to_string());
    let (begin, end) = if colours {
        (colour(&record.verdict), PLAIN)
    } else {
        ("", "")
    };
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let decrypted = match (record.kind, record.decrypted) {
        (Kind::Flow, true) => " (decrypted)",
        _ => "",
    };
    format!(
        "{time} {:<15} {:<10} {begin}{:<9}{end} {:<32} {:<20} {:<24} {:>9} {:>7}\n",
        or_dash(client.as_deref()),
        or_dash(record.user.as_deref()),
        or_dash(Some(&record.verdict)),
        or_dash(Some(&record.what)) + decrypted,
        or_dash(Some(&record.reason)),
        or_dash(record.rule.as_deref()),
        count(record.bytes),
        count(record.milliseconds),
    )
}

fn colour(verdict: &str) -> &'static str {
    match verdict {
        "block" | "drop" | "reject" | "refused" => RED,
        "intercept" | "warn" => YELLOW,
        _ => GREEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            kind: Kind::Flow,
            time: "2026-01-31T08:15:30.250Z".into(),
            client: Some([10, 20, 4, 7].into()),
            user: None,
            verdict: "block".into(),
            host: Some("shop.example".into()),
            what: "shop.example".into(),
            reason: "rule".into(),
            rule: Some("no shopping".into()),
            bytes: Some(517),
            milliseconds: Some(12),
            decrypted: true,
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        assert_eq!(
            text(&record(), false),
            "2026-01-31 08:15:30.250 10.20.4.7       -          block     shop.example (decrypted)         \
             rule                 no shopping                    517      12\n"
        );
        assert!(text(&record(), true).contains("\x1b[31mblock    \x1b[0m "));
    }

    #[test]
    fn nothing_that_clients_name_reaches_the_terminal_as_it_is() {
        let nasty = "a\x1b]0;x\x07\r\n".to_owned();
        let record = Record {
            user: Some(nasty.clone()),
            what: nasty.clone(),
            rule: Some(nasty.clone()),
            verdict: nasty.clone(),
            reason: nasty.clone(),
            time: nasty,
            ..record()
        };
        let text = text(&record, false);
        let (line, rest) = text.split_once('\n').unwrap();
        assert!(
            rest.is_empty() && !line.chars().any(char::is_control),
            "{line:?}"
        );
    }
}
