//! Handshakes without a gateway.

use std::{ops::DerefMut, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, HandshakeKind, ServerConfig, ServerConnection,
};

use super::stage::{Pki, Speech, client, server_name, thread_time};

/// Ends of handshakes in memory.
pub(super) struct Bare {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    resumes: bool,
}

impl Bare {
    /// Ends that resume no session.
    pub(super) fn new(pki: &Pki, speech: Speech) -> Self {
        Self {
            client: client(speech, &pki.root, false),
            server: pki.server(speech),
            resumes: false,
        }
    }

    /// Ends that have a session and resume it.
    pub(super) fn resuming(pki: &Pki, speech: Speech) -> Self {
        let mut bare = Self {
            client: client(speech, &pki.root, true),
            ..Self::new(pki, speech)
        };
        bare.shake();
        bare.resumes = true;
        bare
    }

    /// Makes a handshake, its tickets included: what it took the server, and the client.
    pub(super) fn shake(&self) -> (Duration, Duration) {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let begin = thread_time();
        let name = server_name("www.origin.example".to_owned());
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let mut clients = thread_time() - begin;
        let begin = thread_time();
        let mut server = ServerConnection::new(Arc::clone(&self.server)).expect("a server");
        let mut servers = thread_time() - begin;
        loop {
            let begin = thread_time();
            turn(&mut client, &mut to_client, &mut to_server);
            let middle = thread_time();
            clients += middle - begin;
            if to_server.is_empty() {
                break;
            }
            turn(&mut server, &mut to_server, &mut to_client);
            servers += thread_time() - middle;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let resumed = client.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!(resumed, self.resumes);
        (servers, clients)
    }
}

/// Takes what has come, and says what is to be said.
fn turn<D>(
    connection: &mut impl DerefMut<Target = ConnectionCommon<D>>,
    come: &mut Vec<u8>,
    said: &mut Vec<u8>,
) {
    let mut bytes = come.as_slice();
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).expect("bytes");
        connection.process_new_packets().expect("a handshake");
    }
    come.clear();
    while connection.wants_write() {
        connection.write_tls(said).expect("room");
    }
}
