//! The certificate authority of a gateway, and the leaves that it signs; the only crate that sees a
//! CA key.
//!
//! Where a flow is to be intercepted or a page shown, the client has to be answered with a
//! certificate for the name that it asked for. [`Minter::leaf`] makes one: signed by an
//! [`Authority`] that the administrator made and gave to the clients, never wider than the origin's
//! own certificate in names or time, and refused by clients where the origin's would be. See
//! [`LeafRequest`] for what is asked.
//!
//! [`AuthorityFiles`] makes, imports, reads and rotates authorities on disk; [`export()`] writes their
//! certificates for clients. There is no default authority, and no key in any package.
//!
//! # What keeps the key
//!
//! - Its file is read only where nobody but its owner could have read it; it can be encrypted.
//! - In memory its bytes are in buffers that are cleared when they go, and in aws-lc. Nothing
//!   returns them, and nothing prints them.
//! - There is no function that signs what comes from outside: no request for a certificate, no
//!   certificate, no bytes. What is signed is made up here from a name and two dates.
//! - [`harden_process`] closes the process to others.
#![forbid(unsafe_code)]

mod authority;
mod cache;
mod certificate;
mod clock;
mod constraints;
mod der;
mod error;
mod export;
mod file;
mod harden;
mod key;
mod leaf;
mod limit;
mod minter;
mod name;
mod passphrase;
mod request;
mod rotation;

pub use authority::{Authority, NewAuthority};
pub use certificate::{CaCertificate, Chain, EXPIRES_SOON, Fingerprint};
pub use clock::{Clock, SystemClock, show_moment};
pub use constraints::Constraints;
pub use error::{AuthorityError, MintError};
pub use export::{ExportError, Format, export};
pub use file::Existing;
pub use harden::{Hardened, harden_process};
pub use key::KeyKind;
pub use leaf::Leaf;
pub use minter::{Minter, MinterCounts, MinterOptions};
pub use name::{LeafName, NameError, PresentedName};
pub use passphrase::{Passphrase, PassphraseSource};
pub use request::{Faults, LeafRequest, Origin, OriginCertificate};
pub use rotation::{Authorities, AuthorityFiles, Certificates, KeyState};
