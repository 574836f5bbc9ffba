//! Hashes of passwords: bcrypt and argon2.

use std::fmt;

use argon2::{
    Argon2, PasswordVerifier,
    password_hash::{self, Ident},
};
use base64ct::{Base64Bcrypt, Encoding};
use zeroize::Zeroizing;

/// Work factors of bcrypt: what `htpasswd` makes. One more doubles the time, and seconds are enough.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=17;

/// KiB that one check of an argon2 hash may take.
const ARGON2_MEMORY: u32 = 1 << 18;

/// Passes over the memory.
const ARGON2_PASSES: u32 = 32;

/// Bytes of a password that bcrypt looks at.
const BCRYPT_LENGTH: usize = 72;

const ARGON2_IDS: [Ident<'static>; 3] = [
    argon2::ARGON2D_IDENT,
    argon2::ARGON2I_IDENT,
    argon2::ARGON2ID_IDENT,
];

/// A hash that a password can be held against. It cannot be printed.
#[derive(Clone, Eq, PartialEq)]
pub enum Hash {
    /// `$2a$`, `$2b$` and `$2y$`, which are the same for everything that a password may hold here.
    Bcrypt {
        /// The work factor: the logarithm of the rounds.
        cost: u32,
        /// The salt.
        salt: [u8; 16],
        /// What must come out.
        digest: [u8; 23],
    },
    /// A PHC string of argon2i, argon2d or argon2id.
    Argon2(Box<str>),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt { .. } => "Bcrypt",
            Self::Argon2(_) => "Argon2",
        })
    }
}

impl Hash {
    /// Reads a hash as `htpasswd -B` and `argon2 -e` write it.
    ///
    /// # Errors
    ///
    /// What is wrong with it and the cure, without the hash. Those that are guessed within hours
    /// are refused: MD5, SHA-1, crypt(3), and passwords in the clear.
    pub fn read(text: &str) -> Result<Self, String> {
        let weak = |what: &str| {
            Err(format!(
                "the password is kept {what}, which is guessed too fast: make it anew with \
                 `htpasswd -B`"
            ))
        };
        let versions = ["$2a$", "$2b$", "$2y$"];
        if let Some(rest) = versions.iter().find_map(|id| text.strip_prefix(id)) {
            return bcrypt(rest);
        }
        if text.starts_with("$argon2") {
            return argon2(text);
        }
        if text.starts_with("$apr1$") || text.starts_with("$1$") {
            return weak("as MD5");
        }
        if text.starts_with("{SHA}") || text.starts_with("{SSHA}") {
            return weak("as SHA-1");
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return weak("as SHA-2 of crypt(3)");
        }
        if text.starts_with('$') {
            return Err(
                "the hash is of a kind that is not known here: make it anew with `htpasswd -B`"
                    .into(),
            );
        }
        weak("in the clear or as DES of crypt(3)")
    }

    /// Whether a password is the one, in a time that does not tell how much of it is right. Takes
    /// from a millisecond to seconds of one core.
    #[must_use]
    pub fn is_of(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt { cost, salt, digest } => {
                let mut key = Zeroizing::new([0; BCRYPT_LENGTH]);
                // Its end is a NUL, and it is cut where bcrypt stops looking, as by `htpasswd`.
                let bytes = password.as_bytes();
                let length = (bytes.len() + 1).min(BCRYPT_LENGTH);
                for (to, from) in key.iter_mut().zip(bytes) {
                    *to = *from;
                }
                let Some(key) = key.get(..length) else {
                    return false;
                };
                let made = bcrypt::bcrypt(*cost, *salt, key);
                let made = made.get(..digest.len()).unwrap_or_default();
                aws_lc_rs::constant_time::verify_slices_are_equal(made, digest).is_ok()
            }
            Self::Argon2(text) => {
                let Ok(hash) = password_hash::PasswordHash::new(text) else {
                    return false;
                };
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            }
        }
    }
}

fn bcrypt(rest: &str) -> Result<Hash, String> {
    const CUT: &str = "the bcrypt hash is cut short or has been changed: make it anew with \
                       `htpasswd -B`";
    let (cost, rest) = rest.split_once('$').ok_or(CUT)?;
    let digits = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let cost: u32 = cost.parse().ok().filter(|_| digits).ok_or(CUT)?;
    if !BCRYPT_COSTS.contains(&cost) {
        return Err(format!(
            "the bcrypt hash has the cost {cost}: make it anew with one from {} to {}",
            BCRYPT_COSTS.start(),
            BCRYPT_COSTS.end()
        ));
    }
    let (salt_text, digest_text) = rest.split_at_checked(22).ok_or(CUT)?;
    let mut salt = [0; 16];
    let mut digest = [0; 23];
    let whole = |text: &str, into: &mut [u8]| {
        let length = into.len();
        let decoded = decode_bcrypt(text, into);
        decoded.filter(|&decoded| decoded == length)
    };
    whole(salt_text, &mut salt).ok_or(CUT)?;
    whole(digest_text, &mut digest).ok_or(CUT)?;
    Ok(Hash::Bcrypt { cost, salt, digest })
}

/// Decodes, and says how many bytes it made.
fn decode_bcrypt(text: &str, into: &mut [u8]) -> Option<usize> {
    Base64Bcrypt::decode(text, into).ok().map(<[u8]>::len)
}

fn argon2(text: &str) -> Result<Hash, String> {
    let no_argon2 = |why: &dyn fmt::Display| {
        format!("no argon2 hash that can be used: {why}: make it anew with `argon2 SALT -id -e`")
    };
    let hash = password_hash::PasswordHash::new(text).map_err(|error| no_argon2(&error))?;
    if !ARGON2_IDS.contains(&hash.algorithm) {
        return Err(no_argon2(&"expected argon2id, argon2i or argon2d"));
    }
    if hash.hash.is_none() {
        return Err(no_argon2(&"it has no output"));
    }
    if hash
        .version
        .is_some_and(|version| argon2::Version::try_from(version).is_err())
    {
        return Err(no_argon2(&"expected the version 16 or 19"));
    }
    let mut salt = [0; password_hash::Salt::MAX_LENGTH];
    let salt = hash.salt.and_then(|text| text.decode_b64(&mut salt).ok());
    if salt.is_none_or(|salt| salt.len() < argon2::MIN_SALT_LEN) {
        return Err(no_argon2(&format_args!(
            "expected a salt of {} bytes and more",
            argon2::MIN_SALT_LEN
        )));
    }
    let params = argon2::Params::try_from(&hash).map_err(|error| no_argon2(&error))?;
    if params.m_cost() > ARGON2_MEMORY || params.t_cost() > ARGON2_PASSES {
        return Err(format!(
            "the argon2 hash takes more than {} MiB or {ARGON2_PASSES} passes: make it anew with less",
            ARGON2_MEMORY >> 10
        ));
    }
    Ok(Hash::Argon2(text.into()))
}
