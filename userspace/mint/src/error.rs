//! What can be wrong with an authority, and with what a leaf is asked for.

use std::{io, path::PathBuf};

use crate::{NameError, clock::show_moment};

/// Why an authority cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file is not there.
    #[error(
        "{}: not there: `sluice ca init` makes an authority, `sluice ca import` takes one over",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file would be overwritten.
    #[error(
        "{}: is there already, and no certificate or key is overwritten unasked: move it away, or \
         say --replace",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A secret is named by a symbolic link, which somebody else may turn to another file.
    #[error("{}: is a symbolic link: name the file that it leads to", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A secret is a directory, a pipe or a device.
    #[error("{}: is no regular file: name the file that holds the secret", path.display())]
    NoFile {
        /// What was named.
        path: PathBuf,
    },
    /// Others than the owner may read or write a secret.
    #[error(
        "{}: mode {mode:04o} gives others than the owner rights over a secret: chmod 600 it, and \
         make a new one if somebody may have read it",
        path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A secret belongs to somebody else, who can read and change it.
    #[error(
        "{}: belongs to user {owner}: chown it to root or to user {user}, as whom this runs",
        path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// As whom the process runs.
        user: u32,
    },
    /// A file has more than 1 MiB.
    #[error("{}: larger than 1 MiB, which no certificate or key is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// No credential directory, or a name that leaves it.
    #[error(
        "credential \"{name}\": {why}: add `LoadCredential={name}:/path` or \
         `LoadCredentialEncrypted=` to the unit, or name a file"
    )]
    Credential {
        /// The credential's name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A passphrase is empty, no text, or typed differently the second time.
    #[error("the passphrase {0}")]
    Passphrase(&'static str),
    /// The terminal cannot be talked to.
    #[error("no passphrase can be asked for without a terminal: name a file or a credential: {0}")]
    Terminal(#[source] io::Error),
    /// A key is encrypted and nobody said with what.
    #[error("{}: is encrypted: name the file or the credential with its passphrase", path.display())]
    PassphraseMissing {
        /// The key's file.
        path: PathBuf,
    },
    /// A passphrase does not open a key.
    #[error("{}: does not open with this passphrase", path.display())]
    PassphraseWrong {
        /// The key's file.
        path: PathBuf,
    },
    /// A file holds no key.
    #[error(
        "{}: holds no private key in PEM: expected a block PRIVATE KEY, ENCRYPTED PRIVATE KEY, EC \
         PRIVATE KEY or RSA PRIVATE KEY",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A key cannot be used.
    #[error("{}: {why}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A file holds no certificate.
    #[error("{}: holds no certificate in PEM: expected a block CERTIFICATE", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is none that leaves can be signed under.
    #[error("{}: certificate {number} (\"{subject}\"): {why}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which of those in the file, from 1.
        number: usize,
        /// Whose it is; empty where that cannot be read.
        subject: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A key is not that of the certificate.
    #[error(
        "{}: is not the key of the certificate in {}: name the two that belong together",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate of the chain is past its end, so that clients refuse every leaf.
    #[error(
        "{}: expired at {}: make a new authority with `sluice ca init --replace`, and give it to \
         the clients",
        path.display(),
        show_moment(*at)
    )]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When, in seconds since 1970.
        at: i64,
    },
    /// A certificate of the chain is not yet valid; most often the clock is wrong.
    #[error("{}: not valid before {}: set the clock", path.display(), show_moment(*at))]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// From when on, in seconds since 1970.
        at: i64,
    },
    /// What a new authority is asked to be makes no sense.
    #[error("{what}: {why}")]
    Option {
        /// Which wish.
        what: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A rotation is not in the state that the wish needs.
    #[error("{}: {why}", path.display())]
    Rotation {
        /// The certificate of the next authority.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The cryptography refused; no input does that, only a broken library or random source.
    #[error("cannot {what}: {why}")]
    Crypto {
        /// What it was to do.
        what: &'static str,
        /// What it says.
        why: String,
    },
}

/// Why there is no leaf.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The name is none that a leaf could be for.
    #[error("\"{name}\": {source}")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The authority's name constraints forbid the name (RFC 5280 section 4.2.1.10): clients would
    /// refuse the leaf.
    #[error(
        "{name}: outside the name constraints of the CA: let the rules splice it, or use a CA that \
         may sign for it"
    )]
    Constrained {
        /// The name.
        name: String,
    },
    /// The authority expired while the process ran, or the clock was turned.
    #[error("the CA expired at {}: `sluice ca rotate` makes the next one", show_moment(*at))]
    AuthorityExpired {
        /// When, in seconds since 1970.
        at: i64,
    },
    /// The clock was turned to before the authority.
    #[error("the CA is not valid before {}: set the clock", show_moment(*at))]
    AuthorityNotYetValid {
        /// From when on, in seconds since 1970.
        at: i64,
    },
    /// The origin's certificate was accepted and has no validity left: it expired meanwhile, or the
    /// clock was turned. The origin has to be asked again.
    #[error(
        "the origin's certificate is valid from {} to {}, which is not now",
        show_moment(*from),
        show_moment(*to)
    )]
    OriginNotValid {
        /// From when on, in seconds since 1970.
        from: i64,
        /// Until when, in seconds since 1970.
        to: i64,
    },
    /// The client asked for more new names than it may in this time.
    #[error("the client asks for new leaves faster than `mint_rate` and `mint_burst` allow")]
    RateLimited,
    /// The cryptography refused; no input does that, only a broken library or random source.
    #[error("cannot sign a leaf: {why}")]
    Crypto {
        /// What it says.
        why: String,
    },
}
