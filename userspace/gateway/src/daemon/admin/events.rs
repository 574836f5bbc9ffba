//! `/api/events`: server-sent events (WHATWG HTML, section 9.2) for pages that are open.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::api::Numbered;
use super::summary::VERSION;
use crate::daemon::records::{Recent, Wanted};

/// Where events are told.
pub const EVENTS: &str = "/api/events";

/// Pages that are told at once.
const LISTENERS: usize = 16;
/// Events that may wait for one page; at the next it is left behind.
const WAITING: usize = 8;
/// Records of one event; of more that came meanwhile only the number is told.
const RECORDS: usize = 50;
/// Bytes of records of one event.
const BYTES: usize = 256 << 10;

/// How often records are told; every fourth time the summary is, too.
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// How often the summary is told, in turns of [`EVERY`].
pub(super) const SUMMARY_TURNS: u64 = 4;

/// Pages that listen.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    all: Mutex<Vec<Sender<Bytes>>>,
    /// The number of the record that was told last.
    told: AtomicU64,
    left_behind: AtomicU64,
}

/// What one page is sent, until it leaves or is left behind.
#[derive(Debug)]
pub struct Feed(Receiver<Bytes>);

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[derive(Serialize)]
struct News<'a> {
    v: u32,
    /// The latest first.
    records: Vec<Numbered<'a>>,
    /// Whether more came than are told.
    more: bool,
}

impl Listeners {
    /// Another one, which hears `first` at once; `None` where there are too many.
    pub(super) fn join(&self, first: Bytes) -> Option<Feed> {
        let mut all = self.lock();
        all.retain(|one| !one.is_closed());
        if all.len() >= LISTENERS {
            return None;
        }
        let (sender, receiver) = channel(WAITING);
        // The channel is empty.
        let _ = sender.try_send(first);
        all.push(sender);
        Some(Feed(receiver))
    }

    /// Whether nobody listens.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().iter().all(Sender::is_closed)
    }

    /// Pages that were too slow, since the daemon began.
    pub(super) fn left_behind(&self) -> u64 {
        self.left_behind.load(Ordering::Relaxed)
    }

    /// Tells all of them; whoever has not heard what was told before is left behind.
    pub(super) fn tell(&self, event: &Bytes) {
        self.lock().retain(|one| match one.try_send(event.clone()) {
            Ok(()) => true,
            Err(_) if one.is_closed() => false,
            Err(_) => {
                self.left_behind.fetch_add(1, Ordering::Relaxed);
                false
            }
        });
    }

    /// The records that came since this was asked last; `None` where there are none.
    pub(super) fn news(&self, recent: &Recent) -> Option<Bytes> {
        let latest = recent.fill().latest;
        let told = self.told.swap(latest, Ordering::Relaxed);
        if latest <= told || self.is_empty() {
            return None;
        }
        let wanted = Wanted {
            after: Some(told),
            ..Wanted::default()
        };
        let (mut found, mut more) = recent.search(&wanted, RECORDS);
        let mut size = 0;
        let fitting = found.iter().position(|entry| {
            size += entry.json.len();
            size > BYTES
        });
        if let Some(fitting) = fitting {
            found.truncate(fitting);
            more = true;
        }
        let records = found.iter().filter_map(Numbered::of).collect();
        let v = VERSION;
        event("records", &News { v, records, more })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sender<Bytes>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event of a name; JSON has no line breaks that could end it.
pub(super) fn event(name: &str, data: &impl Serialize) -> Option<Bytes> {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    serde_json::to_writer(&mut text, data).ok()?;
    text.extend_from_slice(b"\n\n");
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_is_left_behind_and_makes_room() {
        let listeners = Listeners::default();
        let first = || Bytes::from_static(b"first");
        let mut feeds: Vec<_> = (0..LISTENERS)
            .map(|_| listeners.join(first()).unwrap())
            .collect();
        assert!(listeners.join(first()).is_none(), "too many");
        let mut slow = feeds.pop().unwrap();
        for _ in 0..WAITING + 1 {
            for feed in &mut feeds {
                while feed.0.try_recv().is_ok() {}
            }
            listeners.tell(&Bytes::from_static(b"news"));
        }
        assert_eq!(listeners.left_behind(), 1);
        // It hears what waited, and then the end.
        assert_eq!(slow.0.try_recv().unwrap(), "first");
        while slow.0.try_recv().is_ok() {}
        assert!(slow.0.is_closed());
        let another = listeners.join(first());
        assert!(another.is_some());
        drop((another, feeds));
        assert!(listeners.is_empty());
        listeners.tell(&first());
        assert_eq!(listeners.left_behind(), 1, "who went was not slow");
    }

    #[test]
    fn an_event_has_one_line_of_data() {
        let text = event("x", &"a\nb\r\u{2028}").unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text.lines().count(), 3, "{text:?}");
        assert!(text.starts_with("event: x\ndata: \"a\\nb\\r") && text.ends_with("\n\n"));
    }
}
