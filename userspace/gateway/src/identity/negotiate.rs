//! Clients that show a Kerberos ticket (Negotiate, RFC 4559), where sluice is built with the feature
//! `kerberos`.
//!
//! A token is accepted in one leg, which is all that Kerberos takes inside SPNEGO (RFC 4178) where
//! client and gateway agree on it at once, as browsers and curl do. A client that wants more legs is
//! refused: they would bind an exchange to a connection, and a proxy's clients have several.

#[cfg(not(feature = "kerberos"))]
mod absent;
#[cfg(feature = "kerberos")]
mod accept;

use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use http::HeaderValue;

#[cfg(not(feature = "kerberos"))]
pub use absent::Negotiate;
#[cfg(feature = "kerberos")]
pub use accept::Negotiate;

/// Bytes that a token may have: tickets of Active Directory name every group of a user.
pub const TOKEN_LIMIT: usize = 64 << 10;

/// Whether this program was built with Kerberos.
pub const SUPPORTED: bool = cfg!(feature = "kerberos");

/// The value of `Proxy-Authenticate` that asks for a ticket (RFC 4559 section 4.1).
pub(super) const fn challenge() -> HeaderValue {
    HeaderValue::from_static("Negotiate")
}

/// Reads the value of a `Proxy-Authorization`: `None` where it is of another scheme, and nothing in
/// it where it is of this one and holds no token.
pub(super) fn read(value: &HeaderValue) -> Option<Option<Vec<u8>>> {
    let bytes = value.as_bytes();
    let scheme = bytes.split(|&byte| byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"Negotiate") {
        return None;
    }
    let token = bytes.get(scheme.len()..).unwrap_or_default().trim_ascii();
    // Base64 is a third longer than what it holds.
    let fits = (1..=TOKEN_LIMIT.div_ceil(3) * 4).contains(&token.len());
    let text = std::str::from_utf8(token).ok().filter(|_| fits);
    Some(text.and_then(|text| Base64::decode_vec(text).ok()))
}

/// Whose tickets are accepted, and by which key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The file with the key of the service.
    pub keytab: PathBuf,
    /// The service that tickets have to be for, as `HTTP@proxy.example`.
    pub service: Box<str>,
    /// The realm whose users are accepted; those of no other are.
    pub realm: Box<str>,
    /// Whether a user is called `alice` instead of `alice@EXAMPLE.COM`.
    pub strip_realm: bool,
}

impl Settings {
    /// Checks what a configuration says.
    ///
    /// # Errors
    ///
    /// What is wrong, for people to read: the program cannot do it at all, the keytab is not named by
    /// an absolute path, the service is not of the form `HTTP@host`, or the realm is none.
    pub fn new(
        keytab: &Path,
        service: &str,
        realm: &str,
        strip_realm: bool,
    ) -> Result<Self, String> {
        if !SUPPORTED {
            return Err(
                "\"negotiate\" needs a sluice with Kerberos in it: build it by `cargo build \
                 --release --features kerberos`, after `cargo xtask setup --kerberos`"
                    .into(),
            );
        }
        if !keytab.is_absolute() {
            return Err(format!(
                "`keytab`: \"{}\": expected an absolute path such as \"/etc/sluice/http.keytab\"",
                keytab.display()
            ));
        }
        let is_host = |host: &str| {
            let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            !host.is_empty() && host.chars().all(part)
        };
        if !service.strip_prefix("HTTP@").is_some_and(is_host) {
            return Err(format!(
                "`service`: \"{service}\": expected \"HTTP@\" and the name by which clients call \
                 the proxy, such as \"HTTP@proxy.example\""
            ));
        }
        let in_realm = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '/' | ':' | '\\');
        if realm.is_empty() || realm.len() > 200 || !realm.chars().all(in_realm) {
            return Err(format!(
                "`realm`: \"{realm}\": expected a realm of Kerberos such as \"EXAMPLE.COM\""
            ));
        }
        Ok(Self {
            keytab: keytab.to_owned(),
            service: service.into(),
            realm: realm.into(),
            strip_realm,
        })
    }

    /// The user of a principal; `None` where it is of another realm, or of none.
    #[must_use]
    pub fn user(&self, principal: &str) -> Option<Box<str>> {
        // An "@" inside a name is escaped by a backslash, and names like that are nobody's here.
        let (name, realm) = principal.split_once('@')?;
        let plain = |c: char| !c.is_control() && c != '\\';
        if name.is_empty() || *realm != *self.realm || !name.chars().all(plain) {
            return None;
        }
        let user = if self.strip_realm { name } else { principal };
        (user.len() <= 200).then(|| user.into())
    }
}

/// A client that showed a ticket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// The user's name, as rules have it.
    pub user: Box<str>,
    /// What is to be sent back, where the client wants to know the gateway as well.
    pub answer: Option<Vec<u8>>,
}

/// Why a token is not accepted, or none can be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// It is no ticket for this service: made up, too old, replayed, for another key, or no
    /// Kerberos, such as NTLM.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// The client wants another leg.
    #[error("the client wants more than one leg, which is not supported: have it use Kerberos")]
    Continues,
    /// It is somebody, and nobody of the realm.
    #[error("{principal} is nobody of the realm {realm}")]
    Foreign {
        /// Who it is.
        principal: String,
        /// Whose users are accepted.
        realm: Box<str>,
    },
    /// Too many tokens are being looked at already.
    #[error("too many tokens at once")]
    Busy,
    /// The library or the keytab cannot be used.
    #[error("{0}")]
    Unavailable(String),
}
