//! What a record tells of its flow or request, as facts that a policy can be asked about again.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sluice_policy::CertificateState;

/// Facts of a record, and what of them is not what the flow had.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The facts, as `sluice explain --facts` takes them.
    pub facts: Value,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What became of it: the verdict of the record.
    pub verdict: String,
    /// Why.
    pub reason: Option<String>,
    /// The generation that judged.
    pub generation: Option<u64>,
    /// What the record does not have, in words for people.
    pub missing: Vec<&'static str>,
}

/// The fields of a record that say something of facts; `None`, or its default, where a kind has none.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    kind: String,
    time: Option<String>,
    client: Option<String>,
    destination: Option<String>,
    user: Option<String>,
    verdict: String,
    rule: Option<String>,
    stage: Option<String>,
    reason: Option<String>,
    tls: Option<String>,
    sni: Option<String>,
    alpn: Vec<String>,
    ja4: Option<String>,
    ech: bool,
    method: Option<String>,
    url: Option<String>,
    decrypted: bool,
    generation: Option<u64>,
    interception: Option<Interception>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interception {
    origin: Option<String>,
    faults: Vec<String>,
}

impl Recorded {
    /// Reads a record under the names of this project; `None` where it is of no flow or request.
    #[must_use]
    pub fn read(record: &[u8]) -> Option<Self> {
        let fields: Fields = serde_json::from_slice(record).ok()?;
        let mut facts = Map::new();
        let mut put = |key: &str, value: Value| {
            let is_nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_nothing {
                facts.insert(key.to_owned(), value);
            }
        };
        let mut missing = vec!["groups that came with the user"];
        if let Some(client) = fields.client.as_deref().and_then(socket) {
            put("client", json!(client.ip()));
            if client.port() == 0 {
                missing.push("the client's whole address");
            }
        }
        if let Some(destination) = fields.destination.as_deref().and_then(socket) {
            put("destination", json!(destination.ip()));
            put("port", json!(destination.port()));
        }
        put("user", json!(fields.user));
        put("time", json!(fields.time));
        match &*fields.kind {
            "flow" => {
                put("stage", json!(fields.stage));
                put("tls", json!(fields.tls));
                put("host", json!(fields.sni));
                put("alpn", json!(fields.alpn));
                put("ja4", json!(fields.ja4));
                if fields.tls.is_some() {
                    put("ech", json!(fields.ech));
                }
                if fields.tls.as_deref() == Some("not-tls") {
                    missing.push("what the first bytes are");
                }
                if let Some(told) = fields.interception.filter(|told| told.origin.is_some()) {
                    put("certificate", json!(states(&told.faults)));
                    missing.push("who issued the certificate");
                }
            }
            "request" => {
                put("stage", json!("request"));
                put("inner", json!("http"));
                put("inspected", json!(fields.decrypted));
                put(
                    "method",
                    json!(fields.method.filter(|method| method != "-")),
                );
                let url = fields.url.filter(|url| !url.is_empty());
                put("host", json!(url.as_deref().and_then(host)));
                put("url", json!(url));
                if fields.decrypted {
                    put("tls", json!("negotiated"));
                } else {
                    put("tls", json!("not-tls"));
                    put("application", json!("http"));
                }
                missing.extend([
                    "what the ClientHello and the certificate say",
                    "header fields and the length of the body",
                ]);
            }
            _ => return None,
        }
        Some(Self {
            facts: Value::Object(facts),
            rule: fields.rule,
            verdict: fields.verdict,
            reason: fields.reason,
            generation: fields.generation,
            missing,
        })
    }
}

fn socket(text: &str) -> Option<std::net::SocketAddr> {
    text.parse().ok()
}

fn host(url: &str) -> Option<String> {
    let parts = sluice_policy::UrlParts::split(url);
    (!parts.host.is_empty()).then(|| parts.host.to_owned())
}

/// What rules call the faults of a certificate.
fn states(faults: &[String]) -> Vec<&'static str> {
    if faults.is_empty() {
        return vec![CertificateState::Valid.name()];
    }
    let states = faults.iter().map(|fault| {
        let known = CertificateState::from_name(fault);
        // Faults are finer than the states; what has no state of its own is no trust.
        known.unwrap_or(CertificateState::Untrusted).name()
    });
    states.collect()
}
