//! The origin of all load: answers every wish of [`wire`].
//!
//! A few workers share the listening ports, each with an epoll set of its own; what lasts, a bulk
//! flow, moves to a thread of its own.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    os::fd::AsRawFd as _,
    thread,
};

use anyhow::{Context, Result};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::OwnedFd,
};
use socket2::Socket;

use super::{
    bulk::{self, Taking},
    socket,
    wire::{self, ANSWER, Read, Wish},
};

/// Serves until the process ends. `ready` runs once, when every listener is there.
///
/// # Errors
///
/// An address cannot be listened on, or the kernel has no epoll set or thread left.
pub fn serve(addresses: &[SocketAddr], workers: usize, ready: impl FnOnce()) -> Result<()> {
    let mut threads = Vec::new();
    for _ in 0..workers.max(1) {
        let mut worker = Worker::new(addresses)?;
        threads.push(
            thread::Builder::new()
                .name("sink".to_owned())
                .spawn(move || worker.run())
                .context("a worker of the sink")?,
        );
    }
    ready();
    for thread in threads {
        if let Ok(result) = thread.join() {
            result?;
        }
    }
    Ok(())
}

/// A flow of which not everything has been said.
struct Flow {
    socket: Socket,
    opening: Vec<u8>,
    held: bool,
}

struct Worker {
    epoll: OwnedFd,
    listeners: HashMap<u64, Socket>,
    flows: HashMap<u64, Flow>,
    answer: Vec<u8>,
}

fn key(socket: &Socket) -> u64 {
    u64::from(socket.as_raw_fd().unsigned_abs())
}

impl Worker {
    fn new(addresses: &[SocketAddr]) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("an epoll set")?;
        let mut listeners = HashMap::new();
        for address in addresses {
            let listener =
                socket::listener(*address).with_context(|| format!("listening on {address}"))?;
            let key = key(&listener);
            epoll::add(&epoll, &listener, EventData::new_u64(key), EventFlags::IN)?;
            listeners.insert(key, listener);
        }
        Ok(Self {
            epoll,
            listeners,
            flows: HashMap::new(),
            answer: (0..ANSWER).map(|at| at.to_le_bytes()[0]).collect(),
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.context("waiting for flows")?,
            };
            for event in events.drain(..) {
                let data = event.data;
                if self.listeners.contains_key(&data.u64()) {
                    self.accept(data.u64())?;
                } else {
                    self.advance(data.u64());
                }
            }
        }
    }

    fn accept(&mut self, listener: u64) -> Result<()> {
        while let Some(listener) = self.listeners.get(&listener) {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The client went before we came.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accepting a flow"),
            };
            socket.set_nonblocking(true)?;
            let key = key(&socket);
            epoll::add(
                &self.epoll,
                &socket,
                EventData::new_u64(key),
                EventFlags::IN | EventFlags::RDHUP,
            )?;
            let flow = Flow {
                socket,
                opening: Vec::new(),
                held: false,
            };
            self.flows.insert(key, flow);
        }
        Ok(())
    }

    /// Goes on with a flow that has something to say; whatever fails in it ends it.
    fn advance(&mut self, key: u64) {
        let Some(mut flow) = self.flows.remove(&key) else {
            return;
        };
        if self.hear(&mut flow).unwrap_or(false) {
            self.flows.insert(key, flow);
        }
    }

    /// Whether the flow stays with this worker.
    fn hear(&self, flow: &mut Flow) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let length = match flow.socket.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            other => other?,
        };
        if length == 0 {
            return Ok(false);
        }
        if flow.held {
            return Ok(true);
        }
        flow.opening
            .extend_from_slice(buffer.get(..length).unwrap_or_default());
        match wire::read(&flow.opening) {
            Read::Partly => Ok(true),
            Read::Foreign => Ok(false),
            Read::Whole(Wish::Answer, _) => flow.socket.write_all(&self.answer).map(|()| false),
            Read::Whole(Wish::Hold, _) => {
                flow.held = true;
                flow.socket.write_all(&[0])?;
                Ok(true)
            }
            Read::Whole(wish, _) => {
                epoll::delete(&self.epoll, &flow.socket)?;
                let socket = flow.socket.try_clone()?;
                socket.set_nonblocking(false)?;
                thread::Builder::new()
                    .name("sink-bulk".to_owned())
                    .spawn(move || {
                        if wish == Wish::Download {
                            bulk::pour(&socket, |_| ());
                        } else {
                            bulk::swallow(&socket, Taking::Discard, |_| ());
                        }
                    })?;
                Ok(false)
            }
        }
    }
}
