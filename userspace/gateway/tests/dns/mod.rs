//! A name server on loopback that says what a test wants it to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is said of a name.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Addresses, perhaps none of the family that is asked for, and for how many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Another name for it, and the addresses of that.
    Alias(&'static str, Vec<IpAddr>),
    /// A response code (RFC 1035 section 4.1.1) alone: 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// Nothing.
    Silence,
}

/// A name server, and how often it was asked.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Names with fixed addresses; there are no others.
    pub(crate) fn new(names: &[(&str, &[&str])]) -> Self {
        let names: HashMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, addresses)| {
                let addresses = addresses.iter().map(|text| text.parse().unwrap());
                ((*name).to_owned(), addresses.collect())
            })
            .collect();
        Self::saying(move |name| match names.get(name) {
            Some(addresses) => Said::Addresses(addresses.clone(), 60),
            None => Said::Code(3),
        })
    }

    /// Answers as `say` does, which is given the name in lower case, for A and AAAA each.
    pub(crate) fn saying(say: impl Fn(&str) -> Said + Send + 'static) -> Self {
        Self::by_family(move |name, _| say(name))
    }

    /// Answers as `say` does, which is told besides whether AAAA is asked for.
    pub(crate) fn by_family(say: impl Fn(&str, bool) -> Said + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::<AtomicUsize>::clone(&asked));
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while !stopped.load(Ordering::SeqCst) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    count.fetch_add(1, Ordering::SeqCst);
                    if let Some(answer) = answer(&bytes[..length], &say) {
                        socket.send_to(&answer, from).unwrap();
                    }
                }
            }
        });
        Self {
            address,
            asked,
            stop,
            thread: Some(thread),
        }
    }

    /// How many questions there were.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
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
fn answer(query: &[u8], say: &dyn Fn(&str, bool) -> Said) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let (code, alias, addresses, ttl) = match say(&labels.join(".").to_lowercase(), kind == 28) {
        Said::Addresses(addresses, ttl) => (0, None, addresses, ttl),
        Said::Alias(name, addresses) => (0, Some(name), addresses, 60),
        Said::Code(code) => (code, None, Vec::new(), 0),
        Said::Silence => return None,
    };
    // Of the question's name, or of the alias, which stands behind the head of its record.
    let owner = if alias.is_some() {
        u16::try_from(question.len() + 12 + 12).unwrap()
    } else {
        12
    };
    let mut records = Vec::new();
    if let Some(alias) = alias {
        let mut name = Vec::new();
        for label in alias.split('.') {
            name.push(label.len() as u8);
            name.extend(label.as_bytes());
        }
        name.push(0);
        records.push(record(12, 5, ttl, &name));
    }
    for address in addresses {
        match (address, kind) {
            (IpAddr::V4(v4), 1) => records.push(record(owner, kind, ttl, &v4.octets())),
            (IpAddr::V6(v6), 28) => records.push(record(owner, kind, ttl, &v6.octets())),
            _ => {}
        }
    }
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    bytes.extend(question);
    bytes.extend(records.concat());
    Some(bytes)
}

fn record(owner: u16, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (0xc000 | owner).to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend([0, data.len() as u8]);
    bytes.extend(data);
    bytes
}
