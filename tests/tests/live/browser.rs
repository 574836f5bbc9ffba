//! Pages as a browser shows them over intercepted TLS.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
};

use sluice_tests::family::Family;

use crate::{
    driver::Driver,
    inspected::Inspected,
    support::{eventually, said},
    tools::{NAME, bracketed},
    web,
};

const RULES: &str = r#"
[policy]
default = "allow"
[page]
organisation = "Example Ltd"
contact = "helpdesk@example.org"

[[rule]]
name = "no secrets"
when = { path = "/secret" }
action = { block = "page", message = "Ask <the help desk>." }
[[rule]]
name = "games"
when = { path = "/games" }
action = { warn = "1h", message = "Is this work?" }
"#;

/// Chromium with a home of its own, in which the gateway's CA is trusted.
struct Browser<'a> {
    gateway: &'a Inspected,
    home: PathBuf,
    origin: SocketAddr,
}

impl<'a> Browser<'a> {
    fn new(gateway: &'a Inspected, origin: SocketAddr) -> Self {
        let home = gateway.lab.dir().join("home");
        let store = home.join(".pki/nssdb");
        fs::create_dir_all(&store).unwrap();
        let store = format!("sql:{}", store.display());
        for args in [
            &["-N", "--empty-password"][..],
            &["-A", "-t", "C,,", "-n", "gateway", "-i"],
        ] {
            let mut certutil = Command::new("certutil");
            certutil.args(["-d", &store]).args(args);
            if args.contains(&"-A") {
                certutil.arg(&gateway.ca);
            }
            let output = certutil.output().expect("certutil, of libnss3-tools");
            assert!(output.status.success(), "{}", said(&output));
        }
        Self {
            gateway,
            home,
            origin,
        }
    }

    /// Options that keep it to the lab.
    fn options(&self) -> Vec<String> {
        // It runs as root, in a namespace that leads nowhere else.
        let fixed = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --no-first-run --disable-sync --no-proxy-server --disable-background-networking \
             --disable-component-update --window-size=1000,800 --lang=en";
        let mut options: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
        let (data, address) = (self.home.join("data"), bracketed(self.origin.ip()));
        options.push(format!("--user-data-dir={}", data.display()));
        options.push(format!(
            "--host-resolver-rules=MAP * {address}, EXCLUDE 127.0.0.1"
        ));
        options
    }

    /// Loads a page of the origin, and does with it what `what` says.
    fn open(&self, path: &str, what: &str) -> Output {
        let mut chromium = Command::new("timeout");
        chromium
            .args(["--kill-after=5", "90", "chromium"])
            .args(self.options())
            .arg(what)
            .arg(format!("https://{NAME}{path}"))
            .env("HOME", &self.home)
            .env_remove("DISPLAY");
        self.gateway.lab.client().output(&mut chromium)
    }

    /// The document that the browser made of a page.
    #[track_caller]
    fn document(&self, path: &str) -> String {
        let output = self.open(path, "--dump-dom");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A picture of it, which `SLUICE_PICTURES` may name a folder for, to be looked at.
    #[track_caller]
    fn picture(&self, path: &str, name: &str) {
        let file = self.gateway.lab.dir().join(name);
        let output = self.open(path, &format!("--screenshot={}", file.display()));
        let picture = fs::read(&file).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert!(picture.starts_with(b"\x89PNG"));
        if let Some(folder) = std::env::var_os("SLUICE_PICTURES") {
            fs::write(PathBuf::from(folder).join(name), picture).unwrap();
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_browser_shows_the_page_of_a_block_and_that_of_a_warning() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    let to = Family::V4.origin_at(5, 443);
    let _origin = web::origin(gateway.lab.internet(), to, &config);
    let browser = Browser::new(&gateway, to);

    let open = browser.document("/today");
    assert!(open.contains("the news of /today by HTTP/2.0"), "{open}");

    let blocked = browser.document("/secret/plans");
    for text in [
        "Ask &lt;the help desk&gt;.",
        "Example Ltd",
        "helpdesk@example.org",
        "/secret/plans",
    ] {
        assert!(blocked.contains(text), "{text}: {blocked}");
    }
    assert!(!blocked.contains("<form"), "{blocked}");
    let record = gateway.record("the block", |one| one["rule"] == "no secrets");
    let reference = record["reference"].as_str().unwrap();
    assert!(blocked.contains(reference), "{reference}: {blocked}");

    let warned = browser.document("/games");
    assert!(warned.contains("Is this work?"), "{warned}");
    assert!(
        warned.contains("<form") && warned.contains("<button"),
        "{warned}"
    );
    let record = gateway.record("the warning", |one| one["rule"] == "games");
    assert_eq!(record["verdict"], "warn", "{record}");

    browser.picture("/secret/plans", "blocked.png");
    browser.picture("/games", "warned.png");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn who_continues_behind_a_warning_is_not_asked_again() {
    let gateway = Inspected::new(RULES);
    let config = web::modern(&gateway.pki, &[NAME]);
    let to = Family::V6.origin_at(5, 443);
    let _origin = web::origin(gateway.lab.internet(), to, &config);
    let browser = Browser::new(&gateway, to);
    let home = browser.home.display().to_string();
    let options = browser.options();
    let driver = Driver::start(gateway.lab.client(), &options, &[("HOME", &home)]);
    let url = format!("https://{NAME}/games/chess?a=b");
    driver.open(&url);
    let warned = driver.document();
    assert!(warned.contains("Is this work?"), "{warned}");
    driver.click("form button");
    let news = "the news of /games/chess by HTTP/2.0";
    eventually("the page behind the warning", || {
        driver.document().contains(news)
    });
    // Neither here nor on another page of the rule's.
    driver.open(&url);
    assert!(driver.document().contains(news), "{}", driver.document());
    driver.open(&format!("https://{NAME}/games"));
    let other = driver.document();
    assert!(other.contains("the news of /games by"), "{other}");
    // A block is none that can be continued from.
    driver.open(&format!("https://{NAME}/secret"));
    assert!(!driver.document().contains("<form"));
}
