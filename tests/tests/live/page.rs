//! The admin page in a browser on the gateway.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sluice_tests::{family::Family, hello, lab::Lab, peer::Recorder, sluice::ADMIN};

use crate::{
    driver::Driver,
    exchange::{Then, hear, say},
    support::{connect, eventually, said},
};

/// What a name would do that is read as markup.
const EVIL: &str = "<img src=x onerror='window.hacked=1'>";

fn config() -> String {
    format!(
        r#"
[steer]
http = ["80"]
[policy]
default = "allow"
default_unidentified = "allow"
[[rule]]
name = "no games {EVIL}"
when = {{ host = "games.example" }}
action = "block"
[[rule]]
name = "no secrets"
when = {{ path = "/secret" }}
action = {{ block = "page" }}
"#
    )
}

/// The file that axe-core is, where `cargo xtask setup` puts it.
fn axe() -> String {
    let own = env::current_exe().unwrap();
    let files = own
        .ancestors()
        .map(|dir| dir.join("tools/axe-core/axe.min.js"));
    let file = files
        .into_iter()
        .find(|file| file.is_file())
        .expect("axe-core is missing: `cargo xtask setup` unpacks it");
    fs::read_to_string(file).unwrap()
}

struct Page<'a> {
    lab: &'a Lab,
    driver: Driver,
}

impl<'a> Page<'a> {
    fn open(lab: &'a Lab) -> Self {
        let home = lab.dir().join("home");
        fs::create_dir_all(&home).unwrap();
        let fixed = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --no-first-run --disable-sync --no-proxy-server --disable-background-networking \
             --disable-component-update --window-size=1280,900 --lang=en";
        let mut options: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
        options.push(format!("--user-data-dir={}", home.join("data").display()));
        let home = home.display().to_string();
        let driver = Driver::start(lab.gateway(), &options, &[("HOME", &home)]);
        let page = Self { lab, driver };
        page.driver.open(&format!("http://{ADMIN}/"));
        page.scheme("light");
        page.wait(
            "it is told what happens",
            "return document.querySelector('#link').textContent === 'live'",
        );
        page
    }

    #[track_caller]
    fn wait(&self, what: &str, script: &str) {
        eventually(what, || self.driver.run(script) == true);
    }

    fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).innerText");
        self.driver
            .run(&script)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// One flow of a client's, to a name.
    fn flow(&self, name: &str) {
        let to = Family::V4.origin_at(5, 443);
        let mut client = connect(self.lab, Family::V4.other(), to);
        say(&mut client, &hello::genuine(name, &["h2"]), Then::Finish);
        hear(&mut client);
    }

    /// Faults that keep people from using the page.
    #[track_caller]
    fn assert_usable(&self, what: &str) {
        self.driver.run(&format!("{}; return true", axe()));
        let faults = self.driver.run_until_told(
            "const done = arguments[arguments.length - 1]; \
             axe.run(document, { resultTypes: ['violations'] }).then((found) => \
             done(found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)) \
             .map((one) => ({ id: one.id, nodes: one.nodes.map((node) => node.html).slice(0, 5) }))))",
        );
        assert_eq!(faults, json!([]), "{what}");
    }

    /// Nothing is wider than the window.
    #[track_caller]
    fn assert_fits(&self) {
        let widths = self.driver.run(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth, \
             [...document.querySelectorAll('main *')].filter((one) => \
             one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, .hidden')) \
             .map((one) => one.outerHTML.slice(0, 100)).slice(0, 3)]",
        );
        assert_eq!(widths[0], widths[1], "{widths}");
        assert_eq!(widths[2], json!([]));
    }

    fn scheme(&self, scheme: &str) {
        // What glides under the pointer cannot be clicked on.
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" }
        ]);
        let features = json!({ "features": features });
        self.driver.emulate("Emulation.setEmulatedMedia", &features);
    }

    fn size(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false
        });
        self.driver
            .emulate("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// A picture, to be looked at.
    fn picture(&self, name: &str) {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/page");
        fs::create_dir_all(&folder).unwrap();
        let picture = self.driver.picture();
        assert!(picture.starts_with(b"\x89PNG"));
        fs::write(folder.join(name), picture).unwrap();
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn the_page_shows_what_happens_and_why() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&config());
    let _origin = Recorder::new(
        lab.internet(),
        Family::V4.origin_at(5, 443),
        &hello::answer(),
    );
    let page = Page::open(&lab);
    let driver = &page.driver;

    // It moves while it is open.
    for _ in 0..6 {
        page.flow("news.example");
    }
    for _ in 0..3 {
        page.flow("games.example");
    }
    let mut curl = Command::new("curl");
    let url = format!(
        "http://{}/secret/{EVIL}?q=\"><script>window.hacked=1</script>",
        Family::V4.origin_at(5, 80).ip()
    );
    curl.args(["--silent", "--globoff", "--path-as-is", "--max-time", "10"])
        .args(["--user-agent", EVIL, &url]);
    let _page = said(&lab.client().output(&mut curl));
    page.wait(
        "blocked hosts are told",
        "return document.querySelector('#blocked').innerText.includes('games.example')",
    );
    page.wait(
        "flows are told",
        "return /splice 0|splice [1-9]/.test(document.querySelector('#flows-legend').innerText) \
         && document.querySelectorAll('#flows-chart path').length === 3",
    );
    page.wait(
        "records come by themselves",
        "return document.querySelectorAll('#found-records tr').length >= 9",
    );
    let rules = page.text("#rules");
    assert!(rules.contains(EVIL), "{rules}");
    assert!(
        page.text("#parts").contains("lan0"),
        "{}",
        page.text("#parts")
    );
    assert_eq!(page.text("#ready"), "ready");

    // It is searched.
    driver.write("#search [name=host]", "GAMES");
    driver.click("#search button.main");
    page.wait(
        "only what was searched for",
        "const rows = [...document.querySelectorAll('#found-records tr')]; \
         return rows.length === 3 && rows.every((row) => row.innerText.includes('games.example'))",
    );

    // Why?
    driver.click("#found-records button");
    page.wait(
        "the explanation",
        "return document.querySelector('#why').open",
    );
    let why = page.text("#why");
    for text in [
        "block",
        "no games",
        EVIL,
        "at hello",
        "The same decides as then.",
        "games.example",
    ] {
        assert!(why.contains(text), "{text}: {why}");
    }
    page.assert_usable("the dialog");
    page.picture("why.png");
    driver.click("#why-close");
    page.wait(
        "the focus is where it was",
        "return !document.querySelector('#why').open && document.activeElement.textContent === 'Why?'",
    );

    // What if?
    driver.write("#ask [name=host]", "games.example");
    driver.write("#ask [name=client]", "10.0.0.1");
    driver.click("#ask button.main");
    page.wait(
        "the answer",
        "return document.querySelector('#explained').innerText.includes('block-alert at hello')",
    );
    driver.run("document.querySelector('#search [type=reset]').click(); return true");

    // In light and dark, and on a phone.
    for (name, scheme, width, height) in [
        ("light.png", "light", 1280, 3000),
        ("dark.png", "dark", 1280, 3000),
        ("phone.png", "light", 360, 5200),
    ] {
        page.scheme(scheme);
        page.size(width, height);
        page.wait(
            "it is drawn anew",
            &format!("return innerWidth === {width}"),
        );
        page.assert_fits();
        page.assert_usable(name);
        page.picture(name);
    }

    // Nothing of what others said became markup.
    assert_eq!(
        driver.run("return window.hacked === undefined && document.images.length === 0"),
        true
    );
    let console = driver.console();
    let faults: Vec<&Value> = console
        .iter()
        .filter(|one| one["level"] == "SEVERE")
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(
        driver.run("return document.querySelector('#trouble').hidden"),
        true
    );

    // It comes back with the daemon.
    assert!(daemon.stop().success());
    page.wait(
        "the loss is told",
        "return document.querySelector('#link').textContent === 'reconnecting'",
    );
    let _daemon = lab.run_sluice(&config());
    eventually_live(&page);
}

/// The page asks again ever more seldom.
fn eventually_live(page: &Page<'_>) {
    for _ in 0..6 {
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_secs(10) {
            if page.text("#link") == "live" {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    panic!("{}", page.text("#link"));
}
