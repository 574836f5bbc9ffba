//! A name server on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A name server on loopback.
pub(crate) struct Dns {
    pub(crate) address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    pub(crate) fn new(names: &[(&str, &[&str])]) -> Self {
        let names: HashMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, addresses)| {
                let addresses = addresses.iter().map(|text| text.parse().unwrap());
                ((*name).to_owned(), addresses.collect())
            })
            .collect();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while !stopped.load(Ordering::SeqCst) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    socket
                        .send_to(&answer(&bytes[..length], &names), from)
                        .unwrap();
                }
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn section(&self) -> String {
        format!("[resolver]\nservers = [\"{}\"]\n", self.address)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// RFC 1035 section 4: the question again, and its answers.
fn answer(query: &[u8], names: &HashMap<String, Vec<IpAddr>>) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let known = names.get(&labels.join(".").to_lowercase());
    let records: Vec<Vec<u8>> = known
        .into_iter()
        .flatten()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut bytes = query[..2].to_vec();
    // An answer, recursive; no such name where none is known.
    bytes.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }]);
    bytes.extend([0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    bytes.extend(question);
    for record in records {
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60, 0, record.len() as u8]);
        bytes.extend(record);
    }
    bytes
}
