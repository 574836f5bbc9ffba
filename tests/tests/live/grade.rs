//! What programs that grade servers of TLS say of the gateway's side of an intercepted flow.

use std::{fs, process::Command};

use serde_json::Value;
use sluice_tests::family::Family;

use crate::{
    inspected::{Inspected, RULES},
    support::{said, tool},
    tools::NAME,
    web,
};

/// Findings of testssl.sh that would cost the grade, and why they do not here.
const ACCEPTED: &[(&str, &str)] = &[
    (
        "cipher_order",
        "the client chooses, who knows what its hardware does fast: every suite has AEAD and forward secrecy",
    ),
    (
        "cert_expirationStatus",
        "leaves last a week at most, and are made anew",
    ),
    (
        "cert_notAfter",
        "leaves last a week at most, and are made anew",
    ),
    (
        "cert_revocation",
        "a leaf is worth nothing without the gateway, which forgets its key when it ends",
    ),
    (
        "RC4",
        "the local openssl does not know it; the suites that are offered are listed besides",
    ),
    (
        "sessionresumption_ticket",
        "testssl.sh ends before the ticket of TLS 1.3 has come; who resumes what is tested as e7",
    ),
    ("HSTS", "said by the origin or by nobody"),
    ("security_headers", "said by the origin or by nobody"),
];

/// Findings without which nothing was tested.
const WANTED: &[(&str, &str)] = &[
    ("SSLv3", "not offered"),
    ("TLS1", "not offered"),
    ("TLS1_1", "not offered"),
    ("TLS1_2", "offered"),
    ("TLS1_3", "offered with final"),
    ("cipherlist_AVERAGE", "not offered"),
    ("PFS", "offered"),
    ("cert_chain_of_trust", "passed."),
    ("heartbleed", "not vulnerable, no heartbeat extension"),
    ("secure_client_renego", "not vulnerable"),
    ("CRIME_TLS", "not vulnerable"),
    ("fallback_SCSV", "no protocol below TLS 1.2 offered"),
];

#[test]
#[ignore = "root: cargo xtask test"]
fn e1_testssl_finds_nothing_below_grade_a() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    let to = Family::V4.origin_at(5, 443);
    let _origin = web::origin(gateway.lab.internet(), to, &config);
    let file = gateway.lab.dir().join("testssl.json");
    let mut testssl = Command::new("timeout");
    testssl
        .args(["--kill-after=5", "280", "testssl", "--quiet"])
        .args(["--warnings", "off", "--color", "0", "--nodns", "none"])
        // All but the simulation of clients.
        .args(["-p", "-s", "-f", "-P", "-S", "-h", "-U"])
        .args(["--ip", &to.ip().to_string(), "--add-ca"])
        .arg(&gateway.ca)
        .arg("--jsonfile")
        .arg(&file)
        .arg(NAME)
        .current_dir(gateway.lab.dir());
    let output = gateway.lab.client().output(&mut testssl);
    let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{}", said(&output)));
    let found: Vec<Value> = serde_json::from_str(&text).unwrap();
    let of = |id: &str| found.iter().find(|one| one["id"] == id);
    for (id, finding) in WANTED {
        let one = of(id).unwrap_or_else(|| panic!("{id} was not looked for: {}", said(&output)));
        assert_eq!(
            one["finding"].as_str().map(str::trim),
            Some(*finding),
            "{one}"
        );
    }
    let below: Vec<&Value> = found
        .iter()
        .filter(|one| !matches!(one["severity"].as_str(), Some("OK" | "INFO")))
        // What is amiss with testssl.sh itself names no server.
        .filter(|one| one["ip"] != "/")
        .filter(|one| ACCEPTED.iter().all(|(id, _)| one["id"] != *id))
        .collect();
    assert!(below.is_empty(), "{below:#?}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn e1_sslyze_finds_what_mozilla_asks_of_servers() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = web::origin(gateway.lab.internet(), to, &config);
        let target = format!("{NAME}:443{{{}}}", to.ip());
        // It ends with an error where the server is not as it should be.
        let result = sslyze(&gateway, &["--mozilla_config", "intermediate", &target]);
        for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
            let suites = &result[format!("{version}_cipher_suites")]["result"];
            assert_eq!(suites["is_tls_version_supported"], false, "{version}");
        }
        for version in ["tls_1_2", "tls_1_3"] {
            let suites = &result[format!("{version}_cipher_suites")]["result"];
            let suites = suites["accepted_cipher_suites"].as_array().unwrap();
            assert_eq!(suites.len(), 3, "{version}");
        }
        for (check, what, expected) in [
            ("tls_compression", "supports_compression", false),
            ("tls_fallback_scsv", "supports_fallback_scsv", true),
            ("heartbleed", "is_vulnerable_to_heartbleed", false),
            ("tls_extended_master_secret", "supports_ems_extension", true),
            (
                "session_renegotiation",
                "is_vulnerable_to_client_renegotiation_dos",
                false,
            ),
        ] {
            assert_eq!(result[check]["result"][what], expected, "{check}");
        }
        let options = ["--mozilla_config", "disable", "--early_data", &target];
        let early = &sslyze(&gateway, &options)["tls_1_3_early_data"]["result"];
        assert_eq!(early["supports_early_data"], false, "{early}");
    }
}

/// What sslyze finds of one server.
#[track_caller]
fn sslyze(gateway: &Inspected, options: &[&str]) -> Value {
    let file = gateway.lab.dir().join("sslyze.json");
    let _absent = fs::remove_file(&file);
    let mut sslyze = Command::new("timeout");
    sslyze
        .args(["--kill-after=5", "120"])
        .arg(tool("sslyze"))
        .arg("--certinfo_ca_file")
        .arg(&gateway.ca)
        .arg("--json_out")
        .arg(&file)
        .args(options);
    let output = gateway.lab.client().output(&mut sslyze);
    assert!(output.status.success(), "{}", said(&output));
    let text = fs::read_to_string(&file).unwrap();
    let mut found: Value = serde_json::from_str(&text).unwrap();
    let server = &mut found["server_scan_results"][0];
    assert_eq!(server["scan_status"], "COMPLETED", "{}", said(&output));
    server["scan_result"].take()
}
