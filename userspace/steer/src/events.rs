//! Sampled verdicts, as the programs put them into the ring.

use std::io;

use aya::maps::{MapData, RingBuf};
use sluice_abi::{Event, map};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes;

use crate::{Error, PinDir};

/// Reads the ring of events; there must be one reader at a time.
pub struct EventReader {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl EventReader {
    /// Opens the pinned ring; needs a tokio runtime with IO.
    pub(crate) fn open(pins: &PinDir) -> Result<Self, Error> {
        let ring =
            RingBuf::try_from(pins.open(map::EVENTS)?).map_err(Error::map(map::EVENTS.name))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may give up their descriptor; a \
                      RingBuf owns its map for as long as it lives"
        )]
        let ring = AsyncFd::with_interest(ring, Interest::READABLE)
            .map_err(Error::io("cannot poll", pins.map(map::EVENTS.name)))?;
        Ok(Self { ring })
    }

    /// Waits until there are events, and moves all of them into `events`.
    ///
    /// # Errors
    ///
    /// What the runtime says when it shuts down.
    pub async fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let before = events.len();
        while events.len() == before {
            let mut ready = self.ring.readable_mut().await?;
            let ring = ready.get_inner_mut();
            while let Some(item) = ring.next() {
                events.extend(Event::read_from_bytes(&item).ok());
            }
            // Only when the ring is empty: the next event makes it readable again.
            ready.clear_ready();
        }
        Ok(())
    }
}
