//! The access record: one line of JSON for every flow, at its end.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Bytes of records that may wait to be written; what comes on top is lost, and counted.
const WAITING: usize = 4 << 20;

/// How long records are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(50);

/// What there is to say of a flow at its end.
#[derive(Debug, Serialize)]
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
    /// The rule that said to decrypt; absent where that follows from what rules ask about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspected_by: Option<&'a str>,
    /// What there is to say of a flow that was to be decrypted, or was shown a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interception: Option<&'a Interception>,
}

/// What there is to say of a flow that was to be decrypted, or was shown a page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Interception {
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
#[derive(Debug, Serialize)]
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

/// Where records go: written by a thread of its own, so that a slow reader never holds a flow up.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// A log that writes to all of `sinks`; without sinks records are not even made.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Write + Send>>) -> Self {
        let shared = Arc::<Shared>::default();
        let writer = if sinks.is_empty() {
            shared.lock().closed = true;
            None
        } else {
            let shared = Arc::clone(&shared);
            Some(std::thread::spawn(move || write(&shared, sinks)))
        };
        Self {
            shared,
            writer: Mutex::new(writer),
        }
    }

    /// Puts a record into the log, or counts it as lost.
    pub fn put(&self, record: &Record<'_>) {
        self.append(record);
    }

    /// Adds the record of a request.
    pub fn put_request(&self, record: &RequestRecord<'_>) {
        self.append(record);
    }

    fn append(&self, record: &impl Serialize) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        let idle = state.waiting.is_empty();
        let before = state.waiting.len();
        if before > WAITING || serde_json::to_writer(&mut state.waiting, record).is_err() {
            state.waiting.truncate(before);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.push(b'\n');
        drop(state);
        if idle {
            self.shared.wake.notify_one();
        }
    }

    /// Records that were lost because the sinks were too slow or failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits and ends the writing.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

fn write(shared: &Shared, mut sinks: Vec<Box<dyn Write + Send>>) {
    loop {
        let mut state = shared.lock();
        while state.waiting.is_empty() && !state.closed {
            state = shared
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !state.closed {
            drop(state);
            std::thread::sleep(GATHER);
            state = shared.lock();
        }
        let records = std::mem::take(&mut state.waiting);
        let closed = state.closed;
        drop(state);
        for sink in &mut sinks {
            if sink
                .write_all(&records)
                .and_then(|()| sink.flush())
                .is_err()
            {
                let count = records.iter().filter(|byte| **byte == b'\n').count();
                shared.lost.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
        if closed {
            return;
        }
    }
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

    /// Keeps what was written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn record(rule: &str) -> Record<'_> {
        Record {
            time: rfc3339(UNIX_EPOCH),
            client: "10.0.0.1:1024".parse().unwrap(),
            destination: "[2001:db8::1]:443".parse().unwrap(),
            user: None,
            listener: None,
            connect: None,
            verdict: "block",
            rule: Some(rule),
            stage: "hello",
            reason: "rule",
            tls: Some("hello"),
            sni: Some("a.example"),
            alpn: vec!["h2".into()],
            ja4: None,
            ech: false,
            tags: vec!["seen"],
            shadow: None,
            end: "rule",
            to_origin: 0,
            to_client: 7,
            spliced: 0,
            peek_us: 3,
            connect_us: 0,
            server_hello_us: 0,
            duration_ms: 1,
            generation: 1,
            decrypted: false,
            inspected_by: None,
            interception: None,
        }
    }

    #[test]
    fn every_record_is_a_line_of_json() {
        let kept = Kept::default();
        let log = AccessLog::new(vec![Box::new(kept.clone())]);
        for _ in 0..100 {
            log.put(&record("a \"quoted\"\nrule"));
        }
        log.close();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[7]["rule"], "a \"quoted\"\nrule");
        assert_eq!(lines[7]["destination"], "[2001:db8::1]:443");
        assert_eq!(lines[7]["decrypted"], false);
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn a_sink_that_is_stuck_costs_records_and_not_flows() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (free, stuck) = std::sync::mpsc::channel();
        let log = AccessLog::new(vec![Box::new(Stuck(stuck))]);
        let long = "x".repeat(64 << 10);
        for _ in 0..200 {
            log.put(&record(&long));
        }
        assert!(log.lost() > 0);
        drop(free);
        log.close();
    }
}
