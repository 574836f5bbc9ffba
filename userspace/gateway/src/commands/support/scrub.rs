//! What takes secrets and people out of what is packed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde_json::Value;

/// What stands where something was taken out.
const REMOVED: &str = "REMOVED";

/// Words in the name of a key whose value may be a secret.
const SECRET_NAMES: [&str; 8] = [
    "password",
    "passphrase",
    "passwd",
    "secret",
    "token",
    "credential",
    "private",
    "authorization",
];

/// Beginnings of what nobody writes who does not mean a hash, a key or a token.
const SECRET_BEGINNINGS: [&str; 8] = [
    "$2a$", "$2b$", "$2y$", "$argon2", "$6$", "$apr1$", "{SSHA", "eyJ",
];

/// Words behind which a credential stands.
const SCHEMES: [&str; 3] = ["basic", "bearer", "negotiate"];

/// Takes secrets out of texts.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Takes the values of secret keys out of a document, and learns them, for whoever else tells
    /// them.
    pub(super) fn take(&mut self, document: &mut toml::Table) {
        for (key, value) in document.iter_mut() {
            self.take_value(key, value);
        }
        // The longest first: one may be the beginning of another.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    fn take_value(&mut self, key: &str, value: &mut toml::Value) {
        match value {
            toml::Value::String(text) => {
                // Where a secret is to be found is none.
                let names = names_secret(key) && !key.ends_with("_file") && !text.starts_with('/');
                if names && !text.is_empty() {
                    self.0.push(std::mem::replace(text, REMOVED.into()));
                } else {
                    *text = patterns(text);
                }
            }
            toml::Value::Array(values) => {
                values
                    .iter_mut()
                    .for_each(|value| self.take_value(key, value));
            }
            toml::Value::Table(table) => {
                for (key, value) in table.iter_mut() {
                    self.take_value(key, value);
                }
            }
            other if names_secret(key) => *other = toml::Value::String(REMOVED.into()),
            _ => {}
        }
    }

    /// The text without what is known or looks like a secret.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Shorter ones stand in too many words that are none.
        for secret in self.0.iter().filter(|secret| secret.len() >= 4) {
            text = text.replace(secret.as_str(), REMOVED);
        }
        patterns(&text)
    }
}

fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|word| key.contains(word))
}

/// The text without blocks of PEM that are no certificates, hashes, tokens, and passwords of URLs.
fn patterns(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut in_block = false;
    for line in text.split_inclusive('\n') {
        if let Some((_, kind)) = line.split_once("-----BEGIN ")
            && !kind.starts_with("CERTIFICATE-----")
        {
            in_block = true;
            shown.push_str(REMOVED);
            shown.push('\n');
        }
        if !in_block {
            words(line, &mut shown);
        }
        if line.contains("-----END ") {
            in_block = false;
        }
    }
    shown
}

fn words(line: &str, shown: &mut String) {
    let mut after_scheme = false;
    for word in line.split_inclusive(|letter: char| {
        letter.is_whitespace() || matches!(letter, '"' | '\'' | ',' | ';')
    }) {
        let end = word
            .trim_end_matches(|letter: char| {
                letter.is_whitespace() || matches!(letter, '"' | '\'' | ',' | ';')
            })
            .len();
        let (text, behind) = word.split_at_checked(end).unwrap_or((word, ""));
        let secret = SECRET_BEGINNINGS
            .iter()
            .find_map(|begin| text.find(begin).filter(|_| text.len() > begin.len() + 8));
        let assigned = text
            .split_once(['=', ':'])
            .filter(|(name, value)| {
                names_secret(name) && !value.is_empty() && !value.starts_with("//")
            })
            .map(|(name, _)| name.len() + 1);
        if after_scheme && text.len() >= 8 {
            shown.push_str(REMOVED);
        } else if let Some(at) = secret.or(assigned) {
            shown.push_str(text.get(..at).unwrap_or_default());
            shown.push_str(REMOVED);
        } else {
            shown.push_str(&without_userinfo(text));
        }
        shown.push_str(behind);
        after_scheme = SCHEMES.contains(&text.to_ascii_lowercase().as_str());
    }
}

/// A URL without the name and password in front of its host.
fn without_userinfo(word: &str) -> std::borrow::Cow<'_, str> {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.into();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://{REMOVED}{}", rest.get(at..).unwrap_or_default()).into(),
        None => word.into(),
    }
}

/// Makes clients in records unknown: addresses are cut, users numbered, queries of URLs taken out.
#[derive(Debug)]
pub(super) struct Clients {
    /// Addresses and users stay as they are.
    pub(super) shown: bool,
    users: BTreeMap<String, usize>,
}

impl Clients {
    pub(super) const fn new(shown: bool) -> Self {
        Self {
            shown,
            users: BTreeMap::new(),
        }
    }

    /// A record of either format.
    pub(super) fn hide(&mut self, record: &mut Value) {
        // What is asked for may hold passwords and tokens, whoever may read of the clients.
        for pointer in ["/url", "/url/full"] {
            if let Some(Value::String(url)) = record.pointer_mut(pointer)
                && let Some(at) = url.find('?')
            {
                url.truncate(at);
                url.push('?');
                url.push_str(REMOVED);
            }
        }
        if self.shown {
            return;
        }
        let inbound =
            record.pointer("/network/direction").and_then(Value::as_str) == Some("inbound");
        let side = if inbound { "destination" } else { "source" };
        for pointer in ["/client".to_owned(), format!("/{side}/ip")] {
            if let Some(Value::String(client)) = record.pointer_mut(&pointer) {
                *client = addresses(client);
                // Behind the bracket of IPv6 stands a port still.
                if let Ok(socket) = client.parse::<SocketAddr>() {
                    *client = SocketAddr::new(socket.ip(), 0).to_string();
                }
            }
        }
        // A port leads back to the client by the traces of others.
        if let Some(port) = record.pointer_mut("/source/port") {
            *port = 0.into();
        }
        for pointer in ["/user", "/user/name"] {
            if let Some(Value::String(user)) = record.pointer_mut(pointer) {
                let next = self.users.len() + 1;
                let number = *self.users.entry(user.clone()).or_insert(next);
                *user = format!("user-{number}");
            }
        }
    }
}

/// The text with every address in it cut to its network, and ports behind them taken out.
pub(super) fn addresses(text: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_hexdigit() || matches!(letter, '.' | ':');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        shown.push_str(&address(word));
        let mut letters = behind.chars();
        shown.extend(letters.next());
        rest = letters.as_str();
    }
    shown
}

fn address(word: &str) -> String {
    // A full stop or a colon may end the sentence instead.
    let text = word.trim_end_matches(['.', ':']);
    let behind = word.get(text.len()..).unwrap_or_default();
    let (found, port) = match text.parse::<IpAddr>() {
        Ok(address) => (Some(address), ""),
        Err(_) => match text.rsplit_once(':') {
            // The port of a truncated address is 0, as records have it.
            Some((host, _)) => (host.parse().ok(), ":0"),
            None => (None, ""),
        },
    };
    match found {
        Some(IpAddr::V4(v4)) => {
            let cut = std::net::Ipv4Addr::from(v4.to_bits() & (u32::MAX << 8));
            format!("{cut}{port}{behind}")
        }
        Some(IpAddr::V6(v6)) => {
            let cut = std::net::Ipv6Addr::from(v6.to_bits() & (u128::MAX << 80));
            format!("{cut}{port}{behind}")
        }
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_of_documents_and_then_everywhere() {
        let mut document: toml::Table = "
            [[identity.provider]]
            bind_password = \"hunter2\"
            bind_password_file = \"ldap.password\"
            url = \"ldaps://cn=x:s3cr3t@ldap.example/\"
            [ca]
            key = \"/etc/sluice/ca.key\"
            passphrase_credential = \"sluice-ca\"
            api_token = [\"abcd1234\"]
            secret = 1234"
            .parse()
            .unwrap();
        let mut secrets = Secrets::default();
        secrets.take(&mut document);
        let text = toml::to_string(&document).unwrap();
        for secret in ["hunter2", "s3cr3t", "abcd1234", "1234", "sluice-ca"] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
        for kept in ["ldap.password", "/etc/sluice/ca.key", "ldap.example"] {
            assert!(text.contains(kept), "{kept} is not in\n{text}");
        }
        assert_eq!(
            secrets.scrub("\"hunter2\": expected more"),
            "\"REMOVED\": expected more"
        );
    }

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let secrets = Secrets::default();
        for (text, shown) in [
            ("alice:$2y$05$abcdefghijklmnop end", "alice:REMOVED end"),
            (
                "Proxy-Authorization: Basic YWxpY2U6cHc= x",
                "Proxy-Authorization: Basic REMOVED x",
            ),
            ("bearer abcdefghij\n", "bearer REMOVED\n"),
            (
                "password=hunter2, user=alice",
                "password=REMOVED, user=alice",
            ),
            (
                "https://alice:pw@a.example/x",
                "https://REMOVED@a.example/x",
            ),
            (
                "a\n-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nb",
                "a\nREMOVED\nb",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            ),
            ("nothing to hide: 10.0.0.1", "nothing to hide: 10.0.0.1"),
        ] {
            assert_eq!(secrets.scrub(text), shown);
        }
    }

    #[test]
    fn addresses_are_cut_wherever_they_stand() {
        for (text, shown) in [
            ("10.20.4.7", "10.20.4.0"),
            ("10.20.4.7:51000", "10.20.4.0:0"),
            ("[2001:db8:1:2::7]:443", "[2001:db8:1::]:443"),
            (
                "from 10.20.4.7, to 192.0.2.1.",
                "from 10.20.4.0, to 192.0.2.0.",
            ),
            (
                "at 08:15:30.250 a fade: cafe",
                "at 08:15:30.250 a fade: cafe",
            ),
        ] {
            assert_eq!(addresses(text), shown);
        }
    }

    #[test]
    fn records_of_both_formats_lose_their_clients() {
        let mut clients = Clients::new(false);
        let mut record = json!({
            "client": "10.20.4.7:51000", "destination": "192.0.2.1:443", "user": "alice",
            "url": "https://a.example/x?token=abc",
        });
        clients.hide(&mut record);
        assert_eq!(
            record,
            json!({
                "client": "10.20.4.0:0", "destination": "192.0.2.1:443", "user": "user-1",
                "url": "https://a.example/x?REMOVED",
            })
        );
        let mut record = json!({
            "source": {"ip": "10.20.4.7", "port": 51000}, "user": {"name": "bob"},
            "url": {"full": "https://a.example/?q=1"},
        });
        clients.hide(&mut record);
        assert_eq!(
            record,
            json!({
                "source": {"ip": "10.20.4.0", "port": 0}, "user": {"name": "user-2"},
                "url": {"full": "https://a.example/?REMOVED"},
            })
        );
        let mut shown = json!({"client": "10.20.4.7:1", "url": "/?a"});
        Clients::new(true).hide(&mut shown);
        assert_eq!(shown, json!({"client": "10.20.4.7:1", "url": "/?REMOVED"}));
    }
}
