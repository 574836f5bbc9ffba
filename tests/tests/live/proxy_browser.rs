//! A browser that is told to use a proxy.

use std::{fs, process::Command};

use sluice_tests::family::Family;

use crate::{
    driver::Driver,
    inspected::records,
    proxy_site::{BLOCKED, CHAT, Door, HOST, Site},
    support::{eventually, said},
};

/// Chromium with this way to the internet, trusting the authority of the origins.
fn browse(site: &Site, way: &str) -> Driver {
    let home = site.lab.dir().join("home");
    let store = home.join(".pki/nssdb");
    let _absent = fs::remove_dir_all(&home);
    fs::create_dir_all(&store).unwrap();
    let store = format!("sql:{}", store.display());
    for args in [
        &["-N", "--empty-password"][..],
        &["-A", "-t", "C,,", "-n", "origins", "-i"],
    ] {
        let mut certutil = Command::new("certutil");
        certutil.args(["-d", &store]).args(args);
        if args.contains(&"-A") {
            certutil.arg(&site.ca);
        }
        let output = certutil.output().expect("certutil, of libnss3-tools");
        assert!(output.status.success(), "{}", said(&output));
    }
    let fixed = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
         --disable-sync --disable-background-networking --disable-component-update --lang=en";
    let mut options: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    options.push(format!("--user-data-dir={}", home.join("data").display()));
    // What goes directly is found without a name server; the rest is the proxy's to find.
    let address = Family::V4.origin(6);
    options.push(format!("--host-resolver-rules=MAP {CHAT} {address}"));
    options.push(way.to_owned());
    let home = home.display().to_string();
    Driver::start(site.lab.client(), &options, &[("HOME", &home)])
}

/// Whether a tunnel to a place was asked for, with this verdict.
fn tunnelled(site: &Site, to: &str, verdict: &str) -> bool {
    let records = site.records(Door::Default);
    records
        .iter()
        .any(|one| one["connect"] == to && one["verdict"] == verdict)
}

/// Loads pages through the proxy, and those that are blocked.
fn pages(browser: &Driver) {
    for scheme in ["https", "http"] {
        browser.open(&format!("{scheme}://{HOST}/news.txt"));
        let shown = browser.document();
        assert!(shown.contains("the news"), "{scheme}: {shown}");
    }
    browser.open(&format!("http://{BLOCKED}/chess"));
    let shown = browser.document();
    for text in ["Ask the help desk.", "/chess"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    // Of a tunnel that is refused browsers show an error of their own.
    let error = browser.fails(&format!("https://{BLOCKED}/chess"));
    assert!(error.contains("ERR_TUNNEL_CONNECTION_FAILED"), "{error}");
    let shown = browser.document();
    assert!(!shown.contains("Ask the help desk."), "{shown}");
}

/// What records tell of [`pages`] when the browser has ended.
fn recorded(site: &Site) {
    eventually("the tunnels", || {
        tunnelled(site, &format!("{HOST}:443"), "splice")
            && tunnelled(site, &format!("{BLOCKED}:443"), "block")
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_browser_goes_through_the_proxy_that_it_is_told_of() {
    let site = Site::new("").with_tree();
    let proxy = Door::Default.url(Family::V4, "");
    let browser = browse(&site, &format!("--proxy-server={proxy}"));
    pages(&browser);
    drop(browser);
    recorded(&site);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_browser_finds_the_proxy_by_its_file_and_what_to_go_to_directly() {
    let site = Site::new("").with_tree();
    let proxy = Door::Default.url(Family::V4, "");
    let browser = browse(&site, &format!("--proxy-pac-url={proxy}/proxy.pac"));
    pages(&browser);
    // The server of websockets has nothing else: what counts is how it was reached.
    browser.open(&format!("https://{CHAT}/"));
    let shown = browser.document();
    assert!(shown.contains("404"), "{shown}");
    drop(browser);
    recorded(&site);
    eventually("the flow that was steered", || {
        let records = records(&site.sluice);
        records
            .iter()
            .any(|one| one["sni"] == CHAT && one["listener"].is_null())
    });
    assert!(!tunnelled(&site, &format!("{CHAT}:443"), "splice"));
    let records = site.records(Door::Default);
    let asked = records.iter().filter(|one| one["reason"] == "to-gateway");
    assert!(asked.count() >= 1, "{records:?}");
}
