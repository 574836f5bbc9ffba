//! What `sluice` refuses to do, and what it says then.

use std::{
    fs,
    process::{Command, Output},
};

use sluice_tests::{family::Family, lab::Lab, sluice::sluice_binary};

use crate::{
    exchange::{Heard, Then, hear, say},
    support::{connect, recipe, said, sluice, status, try_sluice},
};

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let text = said(output);
    assert!(!output.status.success(), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let lab = Lab::new();
    let first = lab.run_sluice(&recipe());
    for verb in ["run", "load"] {
        refused(&try_sluice(&lab, &[verb]), &["another sluice"]);
    }
    assert_eq!(first.get("/readyz").unwrap().status, 200);
    assert_eq!(status(&lab)["daemon"], true);
    for family in Family::ALL {
        let mut client = connect(&lab, family.other(), family.origin_at(5, 443));
        say(&mut client, b"not tls", Then::Wait);
        assert_eq!(hear(&mut client), Heard::reset());
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn an_incompatible_pin_is_refused_with_the_way_out() {
    let lab = Lab::new();
    let _config = lab.write_config(&recipe());
    sluice(&lab, "load");
    let maps = lab.bpffs().join("maps");
    // As another version would have left it: a map of this name and another shape.
    fs::remove_file(maps.join("FLOWS")).unwrap();
    fs::rename(maps.join("ACTIVE"), maps.join("FLOWS")).unwrap();
    for verb in ["run", "load"] {
        refused(
            &try_sluice(&lab, &[verb]),
            &["FLOWS", "does not fit this version", "sluice unload"],
        );
    }
    sluice(&lab, "unload");
    sluice(&lab, "load");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h8_without_rights_it_refuses_and_says_which_it_needs() {
    let lab = Lab::new();
    let config = lab.write_config(&recipe());
    for verb in ["run", "load"] {
        for (missing, rest) in [
            ("CAP_NET_ADMIN", "-net_admin"),
            ("CAP_BPF", "-bpf,-sys_admin"),
            ("CAP_", "-all"),
        ] {
            let mut command = Command::new("setpriv");
            command
                .args(["--inh-caps", "-all", "--bounding-set", rest, "--"])
                .arg(sluice_binary())
                .args([verb, "--config"])
                .arg(&config)
                .current_dir(lab.dir());
            refused(&lab.gateway().output(&mut command), &[missing]);
            assert!(!lab.bpffs().join("links").exists(), "{rest}: half of it");
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_configuration_with_mistakes_starts_nothing() {
    let lab = Lab::new();
    let config = lab.write_config(&recipe());
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[policy]", "[policy]\ncolour = 1")).unwrap();
    for verb in ["run", "load"] {
        refused(&try_sluice(&lab, &[verb]), &["colour", "sluice.toml:"]);
    }
    fs::remove_file(&config).unwrap();
    refused(&try_sluice(&lab, &["run"]), &["sluice.toml"]);
    assert!(!lab.bpffs().exists());
}
