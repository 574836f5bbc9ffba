//! Messages of syslog, as RFC 5424 has them.

use std::io::Write as _;

use super::super::queue::Entry;
use crate::daemon::record::rfc3339;

/// Facility local0 (RFC 5424 section 6.2.1).
const FACILITY: u8 = 16;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// The largest sequence number (RFC 5424 section 7.3.1).
const LAST: u32 = 2_147_483_647;

/// What every message of this process says of itself.
pub(super) struct Header {
    host: String,
    process: u32,
    sequence: u32,
}

impl Header {
    pub(super) fn new() -> Self {
        let system = rustix::system::uname();
        let name = system.nodename().to_string_lossy();
        Self::of(&name, std::process::id())
    }

    fn of(host: &str, process: u32) -> Self {
        // Section 6.2.4: up to 255 printable characters, and no space.
        let host: String = host
            .chars()
            .filter(char::is_ascii_graphic)
            .take(255)
            .collect();
        Self {
            host: if host.is_empty() { "-".into() } else { host },
            process,
            sequence: 0,
        }
    }

    /// Appends the message of an entry: the record itself, without the byte order mark that would
    /// keep readers from taking it for JSON.
    pub(super) fn message(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        self.sequence = self.sequence % LAST + 1;
        let severity = if entry.refused { NOTICE } else { INFORMATIONAL };
        // Writing into a vector does not fail.
        let _ = write!(
            out,
            "<{}>1 {} {} sluice {} {} [meta sequenceId=\"{}\"][origin software=\"sluice\" \
             swVersion=\"{}\"] ",
            FACILITY * 8 + severity,
            rfc3339(entry.time),
            self.host,
            self.process,
            entry.kind.name(),
            self.sequence,
            env!("CARGO_PKG_VERSION"),
        );
        out.extend_from_slice(entry.json());
    }

    /// Appends the message with its length before it (RFC 6587 section 3.4.1).
    pub(super) fn counted(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let mut message = Vec::with_capacity(entry.line.len() + 256);
        self.message(entry, &mut message);
        let _ = write!(out, "{} ", message.len());
        out.append(&mut message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry;
    use super::*;

    #[test]
    fn a_message_is_what_rfc_5424_says() {
        let mut header = Header::of("gate way\n1", 4711);
        let mut out = Vec::new();
        header.message(&entry("{\"a\":\"\\u0000 \"}"), &mut out);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "<133>1 2000-02-29T00:00:00.123Z gateway1 sluice 4711 flow [meta sequenceId=\"1\"]\
                 [origin software=\"sluice\" swVersion=\"{version}\"] {{\"a\":\"\\u0000 \"}}"
            )
        );
        let mut allowed = entry("{}");
        allowed.refused = false;
        let mut out = Vec::new();
        header.message(&allowed, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("<134>1 "), "{text}");
        assert!(text.contains("sequenceId=\"2\""), "{text}");
    }

    #[test]
    fn sequence_numbers_begin_anew_where_rfc_5424_says() {
        let mut header = Header::of("", 1);
        header.sequence = LAST - 1;
        for wanted in ["sequenceId=\"2147483647\"", "sequenceId=\"1\""] {
            let mut out = Vec::new();
            header.message(&entry("{}"), &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(
                text.contains(wanted) && text.contains("Z - sluice"),
                "{text}"
            );
        }
    }

    #[test]
    fn octets_are_counted() {
        let mut out = Vec::new();
        let mut header = Header::of("gateway", 1);
        for text in ["{\"a\":\"ü\"}", "{}"] {
            header.counted(&entry(text), &mut out);
        }
        let mut rest = out.as_slice();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').unwrap();
            let length: usize = std::str::from_utf8(&rest[..space])
                .unwrap()
                .parse()
                .unwrap();
            let (message, more) = rest[space + 1..].split_at(length);
            messages.push(std::str::from_utf8(message).unwrap());
            rest = more;
        }
        assert_eq!(messages.len(), 2);
        assert!(messages[0].ends_with("] {\"a\":\"ü\"}"), "{messages:?}");
        assert!(messages[1].ends_with("] {}"), "{messages:?}");
    }
}
