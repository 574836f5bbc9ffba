//! Who may resume whose session.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::version::{TLS12, TLS13};
use sluice_gateway::origin::{Client, Connected, Origins, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::pki::*;
use crate::served::{Served, connect, settings};

/// An origin that greets whoever comes, so that its tickets arrive, and remembers who resumed.
async fn origin(config: Arc<ServerConfig>) -> (std::net::SocketAddr, Arc<Mutex<Vec<bool>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let resumed: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = Arc::clone(&resumed);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(Arc::clone(&config))
                .accept(socket)
                .await
                .unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            let is_resumed = kind == Some(rustls::HandshakeKind::Resumed);
            seen.lock().unwrap().push(is_resumed);
            stream.write_all(b"hello").await.unwrap();
        }
    });
    (address, resumed)
}

async fn read(mut connected: Connected<TcpStream>) -> bool {
    let mut greeting = [0; 5];
    connected.stream.read_exact(&mut greeting).await.unwrap();
    connected.report.negotiated.resumed
}

struct World {
    root: Authority,
    served: Served,
    settings: Settings,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let (root, key) = (Authority::root("root"), key());
    let names = [dns(NAME.as_bytes()), dns(b"other.example")];
    let leaf = root.leaf(&key).names(&names).sign(&root.key);
    let (settings, folder) = settings(&[&root.certificate]);
    World {
        served: Served::new(&[&leaf], &key),
        root,
        settings,
        _folder: folder,
    }
}

fn user(name: &str) -> Client {
    Client::User(name.into())
}

#[tokio::test]
async fn e7_a_ticket_of_one_client_is_never_offered_for_another() {
    for version in [&TLS12, &TLS13] {
        let world = world();
        let (address, resumed) = origin(world.served.only(version).config()).await;
        let origins = Origins::new(&world.settings).unwrap();
        let mut told = Vec::new();
        for (client, name) in [
            (Some(user("a")), NAME),
            (Some(user("a")), NAME),
            (Some(user("b")), NAME),
            (Some(user("b")), NAME),
            // Another name at the same address.
            (Some(user("a")), "other.example"),
            // The address of a client is no user of that name.
            (Some(Client::Address([10, 0, 0, 1].into())), NAME),
            (Some(user("10.0.0.1")), NAME),
            (None, NAME),
            (None, NAME),
            (Some(user("a")), NAME),
        ] {
            let met = connect(&origins, address, Some(name), client.as_ref(), &[], now()).await;
            told.push(read(met.unwrap()).await);
        }
        let expected = [
            false, true, false, true, false, false, false, false, false, true,
        ];
        assert_eq!(told, expected, "{version:?}");
        assert_eq!(*resumed.lock().unwrap(), expected, "{version:?}");
        // A new generation of the policy begins anew.
        let next = Origins::new(&world.settings).unwrap();
        let met = connect(&next, address, Some(NAME), Some(&user("a")), &[], now()).await;
        assert!(!read(met.unwrap()).await);
    }
}

#[tokio::test]
async fn a_resumed_session_is_judged_anew() {
    let world = world();
    let (address, _) = origin(world.served.only(&TLS13).config()).await;
    let origins = Origins::new(&world.settings).unwrap();
    let meet = async |now: UnixTime| {
        let met = connect(&origins, address, Some(NAME), Some(&user("a")), &[], now).await;
        let report = {
            let met = met.unwrap();
            let report = met.report.clone();
            read(met).await;
            report
        };
        (report.negotiated.resumed, report.is_valid())
    };
    let last = NOW + 15 * DAY;
    assert_eq!(meet(at(last - 60)).await, (false, true));
    assert_eq!(meet(at(last - 30)).await, (true, true));
    // The ticket still holds, the certificate does not.
    assert_eq!(meet(at(last + 1)).await, (true, false));
    // Nor is a session with such an origin kept.
    assert_eq!(meet(at(last + 2)).await, (false, false));
    assert_eq!(meet(at(last + 3)).await, (false, false));
}

#[tokio::test]
async fn sessions_are_bounded() {
    let world = world();
    let (address, _) = origin(world.served.only(&TLS13).config()).await;
    let settings = Settings {
        sessions: 2,
        ..world.settings
    };
    let origins = Origins::new(&settings).unwrap();
    let mut told = Vec::new();
    for name in ["a", "b", "c", "c", "b", "a"] {
        let met = connect(&origins, address, Some(NAME), Some(&user(name)), &[], now()).await;
        told.push(read(met.unwrap()).await);
    }
    assert_eq!(told, [false, false, false, true, true, false]);
    assert!(!world.root.certificate.is_empty());
}
