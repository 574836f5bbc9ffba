//! An explicit proxy, used by curl.

use std::{net::IpAddr, process::Command};

use rustls::version::TLS13;
use sluice_tests::{family::Family, lab::Lab, peer::Peer, pki::Pki};

use crate::{
    support::{eventually, flows, said},
    tools::{NAME, bracketed},
};

/// Asks an origin through a proxy.
fn curl(lab: &Lab, proxy: &str, to: IpAddr, more: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--max-time", "10"])
        .args(["--proxy", proxy, "--proxy-insecure", "--connect-to"])
        .arg(format!("{NAME}:443:{}:443", bracketed(to)))
        .arg("--cacert")
        .arg(lab.dir().join("ca.pem"))
        .args(more)
        .arg(format!("https://{NAME}/"));
    said(&lab.client().output(&mut curl))
}

#[test]
#[ignore = "root: cargo xtask test"]
fn curl_tunnels_through_a_proxy_in_the_clear_and_inside_tls() {
    let (lab, pki) = (Lab::new(), Pki::new());
    let write = |name: &str, text: &str| std::fs::write(lab.dir().join(name), text).unwrap();
    write("ca.pem", pki.pem());
    let (chain, key) = pki.leaf_pem(&["proxy.example"]);
    write("proxy.pem", &chain);
    write("proxy.key", &key);
    let listen = |port: u16| {
        Family::ALL.map(|family| format!("\"{}:{port}\"", bracketed(family.gateway_lan())))
    };
    let sluice = lab.run_sluice(&format!(
        "[policy]\ndefault = \"allow\"\n\
         [[proxy]]\nname = \"plain\"\nconnect_addresses = \"allow\"\nlisten = [{}]\n\
         [[proxy]]\nname = \"private\"\nconnect_addresses = \"allow\"\nlisten = [{}]\n\
         tls = {{ certificate = {:?}, key = {:?} }}\n",
        listen(3128).join(", "),
        listen(3129).join(", "),
        lab.dir().join("proxy.pem"),
        lab.dir().join("proxy.key"),
    ));
    let config = pki.server(&[NAME], &[&TLS13]);
    for family in Family::ALL {
        let origin = family.origin_at(5, 443);
        let _server = Peer::https(lab.internet(), origin, &config, "the news\n");
        let gateway = bracketed(family.gateway_lan());
        for proxy in [
            format!("http://{gateway}:3128"),
            format!("https://{gateway}:3129"),
        ] {
            let answer = curl(&lab, &proxy, origin.ip(), &[]);
            assert!(answer.contains("the news\n"), "{proxy}: {answer}");
            let answer = curl(&lab, &proxy, origin.ip(), &["--user-agent", ""]);
            assert!(answer.contains(" 403 "), "{proxy}: {answer}");
            assert!(answer.contains("http_request_denied"), "{proxy}: {answer}");
            // The gateway itself is nowhere to go to.
            let answer = curl(&lab, &proxy, family.gateway_lan(), &[]);
            assert!(answer.contains(" 403 "), "{proxy}: {answer}");
            assert!(
                answer.contains("destination_ip_prohibited"),
                "{proxy}: {answer}"
            );
        }
    }
    eventually("four tunnels by the default", || {
        flows(&sluice, "splice", ("reason", "default")) == 4.0
    });
    assert_eq!(flows(&sluice, "block", ("reason", "rule")), 4.0);
    assert_eq!(flows(&sluice, "block", ("reason", "self-connect")), 4.0);
}
