//! What an access record tells of a flow, at its end, and of a request.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

pub use super::proof::Handshake;
pub use super::records::AccessLog;

/// The version of the records' schema, which every record has as `v`. It changes where a field loses
/// its meaning; a field that is new does not change it.
pub const SCHEMA_VERSION: u32 = 1;

/// What there is to say of a flow at its end.
#[derive(Clone, Debug, Serialize)]
pub struct Record<'a> {
    /// When the flow began, in RFC 3339 form.
    pub time: String,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The address and port that the client dialled.
    pub destination: SocketAddr,
    /// Who the client is, where that is known.
    pub user: Option<&'a str>,
    /// The proxy listener that the client dialled; absent where the kernel steered the flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'a str>,
    /// What its CONNECT asked for, host and port. The destination is 0.0.0.0 where its address was
    /// not looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// "splice", "intercept" or "block".
    pub verdict: &'static str,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// The stage at which it was decided.
    pub stage: &'static str,
    /// Why the verdict is what it is.
    pub reason: &'static str,
    /// "negotiated", or why TLS is not; "hello" where the origin was not asked; absent where the
    /// client's first bytes were never read.
    pub tls: Option<&'static str>,
    /// The server name of the hello.
    pub sni: Option<&'a str>,
    /// The application protocols of the hello.
    pub alpn: Vec<String>,
    /// The fingerprint of the hello.
    pub ja4: Option<&'a str>,
    /// Whether the hello offers Encrypted Client Hello: the name is the outer one then.
    pub ech: bool,
    /// The words that rules put down for the flow.
    pub tags: Vec<&'a str>,
    /// What the shadow policy would have done, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow<'a>>,
    /// Why the flow ended.
    pub end: &'static str,
    /// Bytes that the origin took.
    pub to_origin: u64,
    /// Bytes that the client took.
    pub to_client: u64,
    /// Of both, the bytes that never left the kernel.
    pub spliced: u64,
    /// Microseconds from the first look at the flow to the client's first bytes being known.
    pub peek_us: u64,
    /// Microseconds until the origin accepted.
    pub connect_us: u64,
    /// Microseconds from there until the origin's answer to the hello was known, where it was
    /// waited for.
    pub server_hello_us: u64,
    /// Milliseconds from the flow's beginning to its end.
    pub duration_ms: u64,
    /// Number of the generation that judged.
    pub generation: u64,
    /// Whether anything was decrypted.
    pub decrypted: bool,
    /// The rule by whose word TLS was to be ended at the gateway; absent where the default says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspected_by: Option<&'a str>,
    /// What that rule says: "action", it is to decrypt; "requests", it asks about requests, and the
    /// flow hangs on it; "page", a page is shown in place of the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspected_because: Option<&'static str>,
    /// What there is to say of a flow that was to be decrypted, or was shown a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interception: Option<&'a Interception>,
}

/// What there is to say of a flow that was to be decrypted, or was shown a page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Interception {
    /// What was agreed on with the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Handshake>,
    /// What was agreed on with the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_tls: Option<Handshake>,
    /// SHA-256 of the leaf that the client was shown, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// SHA-256 of the certificate that the origin showed, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<&'static str>,
    /// The alert by which the client refused the leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// Whether it is remembered that the client refused the CA. A refusal of a leaf that is to be
    /// refused is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remembered: bool,
    /// Requests that were judged.
    pub requests: u64,
}

/// What there is to say of a request of a decrypted or cleartext flow.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord<'a> {
    /// When its head was read, in RFC 3339 form.
    pub time: String,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The address and port that the client dialled.
    pub destination: SocketAddr,
    /// Who the client is, where that is known.
    pub user: Option<&'a str>,
    /// The proxy listener that the client dialled; absent where the kernel steered the flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'a str>,
    /// The method; "-" where the head could not be read.
    pub method: &'a str,
    /// The URL in its normal form; empty where the request has none.
    pub url: &'a str,
    /// "allow", "block" or "warn".
    pub verdict: &'static str,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// Why the verdict is what it is.
    pub reason: &'static str,
    /// The words that rules put down for it.
    pub tags: &'a [String],
    /// The status of the answer; absent where the connection was cut off.
    pub status: Option<u16>,
    /// The number that the page shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whether it was decrypted.
    pub decrypted: bool,
    /// Number of the generation that judged.
    pub generation: u64,
}

/// What a shadow policy would have done with a flow.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shadow<'a> {
    /// The outcome.
    pub outcome: &'static str,
    /// The rule that would have decided.
    pub rule: Option<&'a str>,
}

/// A time in RFC 3339 form with milliseconds, in UTC.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from the first of March of the year 0, so that leap days come last.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut text = String::with_capacity(24);
    // Writing into a String does not fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    );
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_767_225_600, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
