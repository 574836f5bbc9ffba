//! The Basic scheme (RFC 7617).

use http::HeaderValue;
use zeroize::Zeroizing;

use base64ct::{Base64, Base64Unpadded, Encoding};

use super::secret::Secret;

/// Bytes that a user name may have.
pub const USER_LIMIT: usize = 256;

/// Bytes that a password may have; no hash and no directory has a use for more.
pub const PASSWORD_LIMIT: usize = 1024;

/// A user name and a password, as a client showed them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The user name.
    pub user: Box<str>,
    /// The password; never empty.
    pub password: Secret,
}

/// What a value of `Proxy-Authorization` holds (RFC 9110 section 11.4).
#[derive(Debug, Eq, PartialEq)]
pub enum Shown {
    /// Credentials of the Basic scheme.
    Basic(Login),
    /// Credentials of the Basic scheme that are none: of bad Base64, not UTF-8, without a colon,
    /// with control characters, an empty name or password, or too long.
    Malformed,
    /// Credentials of another scheme, or nothing.
    Other,
}

/// Reads the value of a `Proxy-Authorization`.
#[must_use]
pub fn read(value: &HeaderValue) -> Shown {
    let bytes = value.as_bytes();
    let scheme = bytes.split(|&byte| byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return Shown::Other;
    }
    let token = bytes.get(scheme.len()..).unwrap_or_default();
    login(token.trim_ascii()).map_or(Shown::Malformed, Shown::Basic)
}

fn login(token: &[u8]) -> Option<Login> {
    // Base64 is a third longer than what it holds.
    if token.len() > (USER_LIMIT + PASSWORD_LIMIT + 1).div_ceil(3) * 4 {
        return None;
    }
    let token = std::str::from_utf8(token).ok()?;
    let mut bytes = Zeroizing::new(vec![0; token.len()]);
    let decoded = if token.ends_with('=') || token.len().is_multiple_of(4) {
        Base64::decode(token, &mut bytes)
    } else {
        Base64Unpadded::decode(token, &mut bytes)
    };
    let text = std::str::from_utf8(decoded.ok()?).ok()?;
    // RFC 7617 section 2: the first colon ends the name, and neither side has control characters.
    let (user, password) = text.split_once(':')?;
    let fits = (1..=USER_LIMIT).contains(&user.len())
        && (1..=PASSWORD_LIMIT).contains(&password.len())
        && !text.chars().any(char::is_control);
    fits.then(|| Login {
        user: user.into(),
        password: Secret::new(Zeroizing::new(password.to_owned())),
    })
}

/// The value of `Proxy-Authenticate` that asks for Basic credentials, in UTF-8 (RFC 7617 section
/// 2.1); `None` where the realm cannot be said in a header.
#[must_use]
pub fn challenge(realm: &str) -> Option<HeaderValue> {
    let mut value = String::from("Basic realm=\"");
    for c in realm.chars() {
        if matches!(c, '"' | '\\') {
            value.push('\\');
        }
        value.push(c);
    }
    value.push_str("\", charset=\"UTF-8\"");
    HeaderValue::from_str(&value).ok()
}
