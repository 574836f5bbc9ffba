//! Rules about certificates, on a gateway that has no CA: nothing is decrypted for them.

use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use sluice_tests::{family::Family, lab::Lab, pki::Pki};

use crate::{
    clients::Ask,
    inspected::{records, with_roots},
    support::{eventually, flows, said},
    tools::NAME,
    web,
};

const RULES: &str = r#"
[policy]
default = "allow"
[[rule]]
name = "past"
when = { certificate = "expired" }
action = "block"
"#;

#[test]
#[ignore = "root: cargo xtask test"]
fn an_expired_certificate_is_blocked_and_a_valid_one_is_the_origin_s_own() {
    const OLD: &str = "old.example";
    let (lab, pki) = (Lab::new(), Pki::new());
    let sluice = lab.run_sluice(&with_roots(&lab, &pki, RULES));
    let roots = lab.dir().join("roots.pem");
    let valid = web::modern(&pki, &[NAME]);
    let expired = pki.server_like(&[OLD], &[&TLS12, &TLS13], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let expired = web::speaking(expired);
    for family in Family::ALL {
        let (to, old) = (family.origin_at(5, 443), family.origin_at(6, 443));
        let _valid = web::origin(lab.internet(), to, &valid);
        let _expired = web::origin(lab.internet(), old, &expired);
        let ask = Ask {
            lab: &lab,
            host: NAME,
            to,
            ca: &roots,
            path: "/today",
        };
        for options in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let served = said(&ask.curl(options));
            assert!(served.contains("the news of /today"), "{served}");
            let ask = Ask {
                host: OLD,
                to: old,
                ..ask
            };
            // The alert comes in place of the certificate.
            let blocked = ask.curl(options);
            assert_eq!(blocked.status.code(), Some(35), "{}", said(&blocked));
            let told = said(&blocked);
            assert!(told.contains("access denied"), "{told}");
        }
        let served = said(&ask.openssl(&[]));
        assert!(served.contains("Verify return code: 0 (ok)"), "{served}");
        assert!(
            served.contains("issuer=CN = sluice lab authority"),
            "{served}"
        );
    }
    eventually("ten flows", || {
        flows(&sluice, "splice", ("reason", "default")) == 6.0
            && flows(&sluice, "block", ("reason", "rule")) == 4.0
    });
    let records = records(&sluice);
    assert!(records.iter().all(|one| one["decrypted"] == false));
    let blocked: Vec<&Value> = records.iter().filter(|one| one["sni"] == OLD).collect();
    assert_eq!(blocked.len(), 4);
    for record in blocked {
        assert_eq!(record["rule"], "past", "{record}");
        assert_eq!(record["stage"], "certificate");
        assert_eq!(record["tls"], "negotiated");
    }
}
