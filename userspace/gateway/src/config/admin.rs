//! The section `[admin]`.

use std::net::{IpAddr, SocketAddr};

use super::{
    AdminListener, ListenerTls,
    listener_tls::listener_tls,
    read::{Item, Keys, Section},
    sections::absolute,
    sources::Files,
};
use crate::identity::secret::Secret;

/// Characters that a token has at least: 128 bits, where it is random hexadecimal.
const TOKEN: usize = 32;

/// Records that are kept for the page at most.
const RECENT: u64 = 1_000_000;

pub(super) const ADMIN: Keys = Keys {
    known: &[
        "listen",
        "names",
        "recent",
        "token_file",
        "tls",
        "danger_plaintext",
    ],
    later: &[],
};

/// The section `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where to listen; none: nowhere.
    pub listen: Vec<AdminListener>,
    /// Names by which the daemon may be asked, besides addresses and "localhost"; in lower case.
    pub names: Vec<String>,
    /// Access records that are kept for the page; 0: none.
    pub recent: usize,
    /// What is shown by whoever asks at an address that is not loopback.
    pub token: Option<Secret>,
    /// How addresses that are not loopback are served; `None`: in the clear.
    pub tls: Option<ListenerTls>,
}

impl AdminListener {
    /// Whether only this machine can ask there.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

pub(super) fn admin(section: &Section<'_>, files: &Files<'_>) -> Admin {
    let default = || {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 9443));
        let unix = AdminListener::Unix("/run/sluice/admin.sock".into());
        vec![AdminListener::Tcp(loopback), unix]
    };
    let listen = section.list("listen", default, listener);
    let token_item = section.get("token_file");
    let token = token_item.as_ref().and_then(|item| token(item, files));
    let tls_item = section.get("tls");
    let tls = tls_item.as_ref().and_then(|item| {
        let examples = ["/etc/sluice/admin.pem", "/etc/sluice/admin.key"];
        listener_tls(item, "[admin] tls", examples, files)
    });
    let plaintext = section
        .get("danger_plaintext")
        .and_then(|item| item.boolean())
        .unwrap_or_default();
    let asks_for_certificates = tls_item.as_ref().is_some_and(|item| {
        let section = item.is_table().then(|| item.any_section("[admin] tls"));
        section
            .flatten()
            .is_some_and(|tls| tls.get("client_ca").is_some())
    });
    let open = listen.iter().find(|listener| !listener.is_local());
    if let (Some(open), Some(item)) = (open, section.get("listen")) {
        if token_item.is_none() && !asks_for_certificates {
            item.note(format!(
                "\"{open}\": others than this machine can ask there: name a file with a token by \
                 `token_file`, or who issues clients' certificates by `client_ca` in `tls`"
            ));
        }
        if tls_item.is_none() && !plaintext {
            item.note(format!(
                "\"{open}\": the token and all that is told would cross the network in the clear: \
                 name certificate and key by `tls`"
            ));
        }
    }
    let recent = section.number("recent", 10_000, 0..RECENT + 1);
    Admin {
        listen,
        names: section.list("names", Vec::new, name),
        recent: usize::try_from(recent).unwrap_or_default(),
        token,
        tls,
    }
}

fn listener(text: &str) -> Result<AdminListener, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(AdminListener::Unix(absolute(path)?));
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        "expected an address with a port such as \"127.0.0.1:9443\", or \
         \"unix:/run/sluice/admin.sock\""
    })?;
    Ok(AdminListener::Tcp(address))
}

/// The first line of a file that nobody else may read.
fn token(item: &Item<'_>, files: &Files<'_>) -> Option<Secret> {
    let path = item.parse(|text| files.path(text))?;
    let told = |why: String| item.note(format!("{}: {why}", path.display()));
    let token = Secret::from_file(&path).map_err(told).ok()?;
    let text = token.reveal();
    if text.len() < TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        told(format!(
            "expected at least {TOKEN} printable characters without spaces, as \
             `openssl rand -hex 32` makes them"
        ));
        return None;
    }
    Some(token)
}

/// A name as a browser's address bar has it, without a port.
fn name(text: &str) -> Result<String, String> {
    let expected = || "expected a host name such as \"gateway.example\", without a port".to_owned();
    if text.parse::<IpAddr>().is_ok() {
        return Err("addresses are always answered: take it out".into());
    }
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(of_name) {
        return Err(expected());
    }
    Ok(text.to_ascii_lowercase())
}
