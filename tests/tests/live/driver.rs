//! A browser that is told what to do, by WebDriver.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sluice_tests::netns::Netns;

use crate::support::{eventually, said, tool};

/// Where the driver listens, in the browser's namespace.
const PORT: &str = "9515";
/// The key of an element's name (WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A session of chromedriver. Dropping it ends the browser.
pub(crate) struct Driver {
    netns: Netns,
    child: Child,
    session: String,
}

impl Driver {
    /// Starts a browser with these options and these variables.
    #[track_caller]
    pub(crate) fn start(netns: &Netns, options: &[String], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(tool("chromedriver"));
        command
            .arg(format!("--port={PORT}"))
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut driver = Self {
            netns: netns.clone(),
            child: netns.start(&mut command),
            session: String::new(),
        };
        eventually("a driver that listens", || {
            driver.ask("GET", "/status", None)["value"]["ready"] == true
        });
        let chrome = json!({ "args": options, "binary": tool("chromium") });
        let wanted = json!({ "capabilities": {
            "alwaysMatch": { "goog:chromeOptions": chrome }
        } });
        let begun = driver.ask("POST", "/session", Some(&wanted));
        let session = begun["value"]["sessionId"].as_str();
        driver.session = session.unwrap_or_else(|| panic!("{begun}")).to_owned();
        driver
    }

    /// Goes to a page.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        let done = self.tell("POST", "/url", Some(&json!({ "url": url })));
        assert_eq!(done["value"], Value::Null);
    }

    /// Goes to a page that cannot be had, and returns why.
    #[track_caller]
    pub(crate) fn fails(&self, url: &str) -> String {
        let done = self.tell("POST", "/url", Some(&json!({ "url": url })));
        let why = done["value"]["message"].as_str();
        why.unwrap_or_else(|| panic!("{url}: {done}")).to_owned()
    }

    /// The document as it is now.
    pub(crate) fn document(&self) -> String {
        let source = self.tell("GET", "/source", None);
        source["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on the element that a selector finds.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.tell("POST", "/element", Some(&by));
        let element = found["value"][ELEMENT].as_str();
        let element = element.unwrap_or_else(|| panic!("{selector}: {found}"));
        let done = self.tell(
            "POST",
            &format!("/element/{element}/click"),
            Some(&json!({})),
        );
        assert_eq!(done["value"], Value::Null);
    }

    fn tell(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "60"])
            .args(["--request", method])
            .arg(format!("http://127.0.0.1:{PORT}{path}"));
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json"])
                .args(["--data", &body.to_string()]);
        }
        let text = said(&self.netns.output(&mut curl));
        serde_json::from_str(&text).unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.tell("DELETE", "", None);
        }
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
