//! Ordinary TLS passes, and not a byte of it is touched.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustls::version::{TLS12, TLS13};
use sluice_tests::{family::Family, lab::Lab, peer::Peer, pki::Pki};

use crate::{
    support::{eventually, flows, recipe},
    tap::Tap,
    tools::{NAME, curl, openssl, rustls_over},
};

#[test]
#[ignore = "root: cargo xtask test"]
fn handshakes_are_the_same_on_both_legs() {
    let (lab, pki) = (Lab::new(), Pki::new());
    let ca = lab.dir().join("ca.pem");
    std::fs::write(&ca, pki.pem()).unwrap();
    let sluice = lab.run_sluice(&recipe());
    let config = pki.server(&[NAME], &[&TLS12, &TLS13]);
    for family in Family::ALL {
        let (origin, serving) = (family.origin_at(5, 443), family.origin_at(5, 8443));
        let _server = Peer::https(lab.internet(), serving, &config, "the news\n");
        let far = Tap::new(lab.internet(), origin, serving);
        let here = match family {
            Family::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            Family::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 8443)),
        };
        let near = Tap::new(lab.client(), here, origin);
        let mut asked = 0;
        for (version, of_rustls) in [("1.2", &TLS12), ("1.3", &TLS13)] {
            let by_rustls = || {
                let stream = lab.client().run(|| std::net::TcpStream::connect(here));
                rustls_over(stream.unwrap(), &pki, &[of_rustls]).unwrap()
            };
            let clients: [&dyn Fn() -> String; 3] = [
                &|| curl(&lab, here, &ca, version),
                &|| openssl(&lab, here, &ca, version),
                &by_rustls,
            ];
            for client in clients {
                let answer = client();
                assert!(answer.contains("the news\n"), "TLS {version}: {answer}");
                asked += 1;
                eventually("the connection over on both sides", || {
                    near.passed().len() == asked && far.passed().len() == asked
                });
                let (near, far) = (near.passed(), far.passed());
                assert!(
                    near.last() == far.last(),
                    "TLS {version}, {family:?}: the legs differ"
                );
                let passed = near.last().unwrap();
                assert!(passed.from_client.len() > 200 && passed.from_server.len() > 500);
            }
        }
    }
    eventually("twelve flows by the default", || {
        flows(&sluice, "splice", ("reason", "default")) == 12.0
    });
    assert_eq!(flows(&sluice, "block", ("tls", "hello")), 0.0);
}
