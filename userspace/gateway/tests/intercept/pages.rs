//! Blocks by a page and by an alert, for every kind of client.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::d::{DENIED, World};
use crate::lab::{Client, Lab};
use crate::pki::DAY;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const PROTOCOLS: [&[&[u8]]; 3] = [&[b"h2"], &[b"http/1.1"], &[]];

/// Every client is shown a page, or denied by an alert.
#[track_caller]
fn blocked(lab: &Lab, by_page: bool) {
    for version in VERSIONS {
        for alpn in PROTOCOLS {
            let client = Client::speaking(&lab.ca, &[version]).offering(alpn);
            match lab.run(client.get(lab, "/today")) {
                Ok(page) => {
                    assert!(by_page, "{version:?}");
                    assert_eq!(page.status(), 403);
                    assert!(page.body.contains("<html"), "{}", page.body);
                    assert!(page.body.contains("closed"), "{}", page.body);
                }
                Err(error) => {
                    assert!(!by_page, "{version:?}: {error}");
                    assert!(error.to_string().to_lowercase().contains(DENIED));
                }
            }
        }
    }
    assert_eq!(lab.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn d16_page_and_alert_reach_every_client() {
    for kind in ["page", "alert"] {
        let rules = format!("[[rule]]\nname = \"closed\"\naction = {{ block = \"{kind}\" }}\n");
        let lab = Lab::new(&rules);
        blocked(&lab, kind == "page");
        lab.over(6);
        for flow in lab.end().0 {
            assert_eq!(flow["verdict"], "block", "{flow}");
            assert_eq!(flow["rule"], "closed");
            assert_eq!(flow["decrypted"], kind == "page");
        }
    }
}

#[test]
fn d16_a_request_is_answered_by_a_page() {
    let rules = "[policy]\ndefault = \"allow\"\n[[rule]]\nname = \"closed\"\n\
                 when = { path = \"/today\" }\naction = { block = \"page\" }\n";
    let lab = Lab::new(rules);
    blocked(&lab, true);
}

#[test]
fn d16_an_invalid_certificate_is_answered_by_a_page_where_a_rule_says_so() {
    let rules = "[policy]\ndefault = \"allow\"\n[[rule]]\nname = \"closed\"\n\
                 when = { certificate = \"invalid\" }\naction = { block = \"page\" }\n";
    let (world, now) = (World::new(), jiff::Timestamp::now().as_second());
    let origin = world.with(|draft| draft.valid(now - 20 * DAY, now - DAY));
    let lab = Lab::before(&origin, rules);
    blocked(&lab, true);
    // Who does not trust the CA refuses the page's leaf, and not the origin's certificate.
    let client = Client::trusting(&world.root.certificate);
    let error = lab.run(client.connect(&lab)).unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    lab.over(7);
    let flows = lab.end().0;
    assert_eq!(flows[6]["end"], "client-rejected-ca", "{}", flows[6]);
}
