//! One connection of a flow, whose close says the truth.

use std::ops::Deref;

use sluice_splice::abort;
use tokio::net::TcpStream;

/// A connection that is reset when it is dropped, unless its stream was ended in order.
///
/// An orderly close tells the peer that it has everything. Nothing may say so by accident: neither
/// a flow that is cut off, nor one whose task panics.
#[derive(Debug)]
pub(crate) struct Leg {
    stream: TcpStream,
    orderly: bool,
}

impl Leg {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            orderly: false,
        }
    }

    pub(crate) const fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Closes the connection in order.
    pub(crate) fn finish(mut self) {
        self.orderly = true;
    }

    /// From here on the connection is closed in order: its stream was ended.
    pub(crate) const fn set_orderly(&mut self) {
        self.orderly = true;
    }
}

impl Deref for Leg {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if !self.orderly {
            // A socket that does not take the option is gone already.
            let _ = abort(&self.stream);
        }
    }
}
