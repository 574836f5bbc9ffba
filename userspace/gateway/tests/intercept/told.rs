//! What a flow says of itself where nothing else is tested: reasons that are rare.

use std::net::UdpSocket;

use rustls::{ClientConnection, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::handshakes::record;
use crate::lab::{INSPECT, Lab, NAME};

#[test]
fn a_name_whose_addresses_nobody_tells_is_unresolved() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let rules = format!(
        "[steer]\nsni_truth = \"dial\"\n[resolver]\nservers = [\"{}\"]\ntimeout = \"50ms\"\n\
         [policy]\ndefault = \"allow\"\n",
        silent.local_addr().unwrap()
    );
    let lab = Lab::new(&rules);
    lab.run(lab.trusting_origins().get(&lab, "/")).unwrap_err();
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["verdict"], "block");
    assert_eq!(flows[0]["reason"], "unresolved-name", "{}", flows[0]);
}

#[test]
fn a_flow_that_hangs_on_requests_says_so() {
    let rules = "[policy]\ndefault = \"allow\"\n[[rule]]\nname = \"no secrets\"\n\
                 when = { path = \"/secret\" }\naction = \"block\"\n";
    let lab = Lab::new(rules);
    let answer = lab.run(lab.trusting_gateway().get(&lab, "/")).unwrap();
    assert_eq!(answer.status(), 200);
    lab.over(1);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["verdict"], "intercept");
    assert_eq!(flows[0]["reason"], "needs-requests", "{}", flows[0]);
    assert_eq!(requests.len(), 1);
}

#[test]
fn a_client_that_says_nonsense_in_its_handshake_refused_no_leaf() {
    let lab = Lab::new(INSPECT);
    let config = lab.trusting_gateway().config;
    let name = ServerName::try_from(NAME).unwrap();
    let mut tls = ClientConnection::new(config.into(), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    lab.run(async {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        // Once the gateway has answered, a record that no key has sealed.
        let mut heard = [0; 64];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(&record(23, &[7; 64])).await.unwrap();
        let mut rest = Vec::new();
        // Whether it is closed or reset does not matter.
        let _ = stream.read_to_end(&mut rest).await;
    });
    lab.over(1);
    assert_eq!(lab.shared.memory.rejected.count(), 0);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "client-handshake-failed", "{}", flows[0]);
}
