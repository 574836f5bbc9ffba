//! The key `tls` of a listener of the gateway's own.

use std::path::PathBuf;

use super::{
    read::{Item, Keys},
    sources::Files,
};

/// The files by which a listener of the gateway's own speaks TLS. They are not read with the
/// configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerTls {
    /// The chain that clients are shown, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who issues the certificates of clients, PEM; `None`: clients are asked for none.
    pub client_ca: Option<PathBuf>,
}

const TLS: Keys = Keys {
    known: &["certificate", "key", "client_ca"],
    later: &[],
};

/// Reads it; `examples` are a certificate and a key, for who names none.
pub(super) fn listener_tls(
    item: &Item<'_>,
    title: &str,
    examples: [&str; 2],
    files: &Files<'_>,
) -> Option<ListenerTls> {
    let section = item.section(title, TLS)?;
    let [certificate, key] = examples;
    let file = |name, example| {
        if section.get(name).is_none() {
            section.missing(name, &format!("name the file, as in \"{example}\""));
        }
        section.value(name, PathBuf::new(), |text| files.path(text))
    };
    let client_ca = section.get("client_ca");
    Some(ListenerTls {
        certificate: file("certificate", certificate),
        key: file("key", key),
        client_ca: client_ca.and_then(|item| item.parse(|text| files.path(text))),
    })
}
