//! What programs that grade servers of TLS say of the gateway's side of an intercepted flow.

use std::{fs, process::Command};

use serde_json::Value;
use sluice_tests::family::Family;

use crate::{
    inspected::{Inspected, RULES},
    support::said,
    tools::NAME,
    web,
};

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
        .args([
            "--kill-after=5",
            "280",
            "testssl",
            "--quiet",
            "--warnings",
            "off",
        ])
        .args([
            "--color",
            "0",
            "--fast",
            "--nodns",
            "none",
            "--ip",
            &to.ip().to_string(),
        ])
        .arg("--jsonfile")
        .arg(&file)
        .arg(NAME)
        .current_dir(gateway.lab.dir());
    let output = gateway.lab.client().output(&mut testssl);
    let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{}", said(&output)));
    if let Some(folder) = std::env::var_os("SLUICE_PICTURES") {
        fs::write(std::path::PathBuf::from(folder).join("testssl.json"), &text).unwrap();
    }
    let found: Vec<Value> = serde_json::from_str(&text).unwrap();
    for finding in found {
        println!("{finding}");
    }
}
