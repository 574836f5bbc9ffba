//! Names of several addresses, some of which do not answer or are not to be dialled.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::gateway::{ALLOW, Gateway, Names, mirror};
use crate::lab::Origin;

const NAMES: Names<'_> = &[
    ("many.example", &["127.0.0.2", "127.0.0.3", "127.0.0.1"]),
    ("few.example", &["127.0.0.2", "127.0.0.3"]),
];

/// A place that answers nobody: its backlog is full of connections that nobody takes.
struct Silent {
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    async fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) =
            timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            waiting.push(stream.unwrap());
            assert!(waiting.len() < 20, "the backlog is never full");
        }
        Self {
            _listener: listener,
            _waiting: waiting,
        }
    }
}

#[test]
fn an_address_that_the_rules_forbid_is_not_tried_either() {
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let rules = format!(
        "{ALLOW}[splice]\nconnect_timeout = \"1s\"\n\
         [[rule]]\nname = \"not there\"\nwhen = {{ destination = \"127.0.0.3\" }}\naction = \"block\"\n"
    );
    let gateway = Gateway::knowing(NAMES, &origin, "connect_ports = [\"1-65535\"]", &rules);
    let port = gateway.lab.origin.port();
    let forbidden = std::net::TcpListener::bind(("127.0.0.3", port)).unwrap();
    forbidden.set_nonblocking(true).unwrap();
    let (many, few) = (gateway.site("many.example"), gateway.site("few.example"));
    let get = |site: &str| format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n");
    gateway.lab.run(async {
        let _silent = Silent::at(([127, 0, 0, 2], port).into()).await;
        let answer = gateway.dial().await.ask(get(&many)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut client = gateway.dial().await;
        assert_eq!(client.connect(&many).await.status, 200);
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // Where nothing else is left, there is no answer.
        let answer = gateway.dial().await.ask(get(&few)).await;
        assert_eq!(answer.status, 504, "{answer:?}");
        let told = answer.fields("proxy-status").join(",");
        assert!(told.contains("error=connection_timeout"), "{told}");
    });
    let (flows, requests) = gateway.end();
    let to = format!("127.0.0.1:{port}");
    assert_eq!(flows[0]["destination"], to.as_str(), "{flows:?}");
    let statuses: Vec<_> = requests.iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [200, 504]);
    let dialled = forbidden.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(dialled, Err(ErrorKind::WouldBlock));
}
