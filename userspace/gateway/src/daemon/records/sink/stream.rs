//! Whatever can be written to.

use std::io::{self, Write};

use super::super::queue::Batch;
use super::super::writer::Deliver;

/// Writes to something that may block for as long as it likes: only its own thread waits.
pub(in super::super) struct Stream {
    writer: Box<dyn Write + Send>,
}

impl Stream {
    pub(in super::super) fn new(writer: Box<dyn Write + Send>) -> Self {
        Self { writer }
    }
}

impl Deliver for Stream {
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()> {
        while let Some(entry) = batch.front() {
            self.writer.write_all(&entry.line)?;
            batch.delivered();
        }
        self.writer.flush()
    }
}
