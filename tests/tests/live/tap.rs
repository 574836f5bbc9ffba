//! A relay that notes every byte it passes on: one on each leg shows what the gateway changed.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use sluice_tests::{netns::Netns, peer::Peer};

/// What passed on one connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Passed {
    pub(crate) from_client: Vec<u8>,
    pub(crate) from_server: Vec<u8>,
}

/// A relay between one address and another, both seen from one namespace.
pub(crate) struct Tap {
    _peer: Peer,
    over: Arc<Mutex<Vec<Passed>>>,
}

impl Tap {
    pub(crate) fn new(netns: &Netns, listen: SocketAddr, onward: SocketAddr) -> Self {
        let over: Arc<Mutex<Vec<Passed>>> = Arc::default();
        let noted = Arc::clone(&over);
        let peer = Peer::tcp(netns, listen, move |near, _| {
            let Ok(far) = TcpStream::connect(onward) else {
                return;
            };
            let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let back = thread::spawn(move || pass(far2, near2));
            let from_client = pass(near, far);
            let from_server = back.join().unwrap();
            let mut over = noted.lock().unwrap_or_else(PoisonError::into_inner);
            over.push(Passed {
                from_client,
                from_server,
            });
        });
        Self { _peer: peer, over }
    }

    /// The connections that are over.
    pub(crate) fn passed(&self) -> Vec<Passed> {
        self.over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Passes one direction on until it ends, and returns what passed.
fn pass(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 16_384];
    while let Ok(length) = from.read(&mut chunk)
        && length > 0
    {
        all.extend(&chunk[..length]);
        if to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Write);
    all
}
