//! A browser that is told what to do, by WebDriver.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
};

use base64ct::{Base64, Encoding as _};
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
            "alwaysMatch": {
                "goog:chromeOptions": chrome,
                "goog:loggingPrefs": { "browser": "ALL" }
            }
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

    /// What a function's body returns that is run in the page, outside its policy of content.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        let done = self.tell("POST", "/execute/sync", Some(&body));
        assert_eq!(done["value"].get("error"), None, "{done}");
        done["value"].clone()
    }

    /// The same for a function that calls the last of its arguments when it has a result.
    #[track_caller]
    pub(crate) fn run_until_told(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        let done = self.tell("POST", "/execute/async", Some(&body));
        assert_eq!(done["value"].get("error"), None, "{done}");
        done["value"].clone()
    }

    /// Tells the browser by its own protocol, for what WebDriver has no word for.
    #[track_caller]
    pub(crate) fn emulate(&self, command: &str, params: &Value) {
        let body = json!({ "cmd": command, "params": params });
        let done = self.tell("POST", "/goog/cdp/execute", Some(&body));
        assert_eq!(done["value"].get("error"), None, "{done}");
    }

    /// Writes into the field that a selector finds.
    #[track_caller]
    pub(crate) fn write(&self, selector: &str, text: &str) {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.tell("POST", "/element", Some(&by));
        let element = found["value"][ELEMENT].as_str();
        let element = element.unwrap_or_else(|| panic!("{selector}: {found}"));
        let path = format!("/element/{element}/value");
        let done = self.tell("POST", &path, Some(&json!({ "text": text })));
        assert_eq!(done["value"], Value::Null, "{done}");
    }

    /// What the page's console was told since this was asked last.
    #[track_caller]
    pub(crate) fn console(&self) -> Vec<Value> {
        let log = self.tell("POST", "/se/log", Some(&json!({ "type": "browser" })));
        let entries = log["value"].as_array();
        entries.unwrap_or_else(|| panic!("{log}")).clone()
    }

    /// A picture of what the window shows, as PNG.
    #[track_caller]
    pub(crate) fn picture(&self) -> Vec<u8> {
        let done = self.tell("GET", "/screenshot", None);
        let text = done["value"].as_str();
        let text = text.unwrap_or_else(|| panic!("{done}"));
        Base64::decode_vec(text).unwrap()
    }

    fn tell(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "60"])
            .args(["--request", method])
            .arg(format!("http://127.0.0.1:{PORT}{path}"));
        // Scripts may be longer than an argument.
        let file = body.map(|body| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(body.to_string().as_bytes()).unwrap();
            file
        });
        if let Some(file) = &file {
            curl.args(["--header", "Content-Type: application/json"])
                .arg("--data-binary")
                .arg(format!("@{}", file.path().display()));
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
