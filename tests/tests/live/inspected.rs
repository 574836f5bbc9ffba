//! A lab whose gateway has a CA, and whose origins have an authority that the gateway trusts.

use std::{fs, path::PathBuf};

use serde_json::Value;
use sluice_tests::{lab::Lab, pki::Pki, sluice::Sluice};

use crate::{
    records::all_of,
    support::{eventually, said},
};

/// What is looked into, what never is, and what is blocked.
pub(crate) const RULES: &str = r#"
[policy]
default = "allow"

[[rule]]
name = "pinned"
when = { tls = "client-rejected-ca" }
action = "splice"
[[rule]]
name = "never"
when = { host = "bank.example" }
action = "splice"
[[rule]]
name = "look into it"
when = { host = "news.example" }
action = "inspect"
[[rule]]
name = "no secrets"
when = { path = "/secret" }
action = { block = "page", message = "Ask <the help desk>." }
"#;

/// The lab, with the daemon on its gateway.
pub(crate) struct Inspected {
    pub(crate) sluice: Sluice,
    pub(crate) lab: Lab,
    pub(crate) pki: Pki,
    /// The gateway's CA as clients get it.
    pub(crate) ca: PathBuf,
    /// The authority of the origins.
    pub(crate) roots: PathBuf,
}

impl Inspected {
    pub(crate) fn new(rules: &str) -> Self {
        Self::logging(rules, "info")
    }

    /// The same, whose daemon logs what a filter says.
    pub(crate) fn logging(rules: &str, filter: &str) -> Self {
        let (lab, pki) = (Lab::new(), Pki::new());
        let state = lab.dir().join("state");
        fs::create_dir_all(&state).unwrap();
        let path = |name: &str| state.join(name).display().to_string();
        let (certificate, key, exported) = (path("ca.pem"), path("ca.key"), path("clients.pem"));
        let place = ["--certificate", &certificate, "--key", &key];
        run(
            &lab,
            &["ca", "init", "--common-name", "sluice lab CA"],
            &place,
        );
        run(&lab, &["ca", "export", "--out", &exported], &place);
        let config = with_roots(&lab, &pki, rules)
            + &format!("\n[ca]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        let mut sluice = lab.start_sluice_logging(&config, &[], filter);
        sluice.wait_ready();
        Self {
            sluice,
            ca: exported.into(),
            roots: lab.dir().join("roots.pem"),
            lab,
            pki,
        }
    }

    /// Waits until an access record fits, and returns it.
    #[track_caller]
    pub(crate) fn record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(what, || {
            found = records(&self.sluice).into_iter().find(&fits);
            found.is_some()
        });
        found.unwrap()
    }
}

/// A configuration that trusts the authority of the origins, and no other.
pub(crate) fn with_roots(lab: &Lab, pki: &Pki, rules: &str) -> String {
    let roots = lab.dir().join("roots.pem");
    fs::write(&roots, pki.pem()).unwrap();
    format!(
        "{rules}\n[upstream]\nsystem_roots = false\nroots = [\"{}\"]\n",
        roots.display()
    )
}

/// The access records of flows and requests so far.
pub(crate) fn records(sluice: &Sluice) -> Vec<Value> {
    let mut records = all_of(&sluice.log());
    records.retain(|record| record["kind"] != "packets");
    records
}

#[track_caller]
fn run(lab: &Lab, verb: &[&str], place: &[&str]) {
    let output = lab.sluice(&[verb, place].concat());
    assert!(output.status.success(), "{verb:?}: {}", said(&output));
}
