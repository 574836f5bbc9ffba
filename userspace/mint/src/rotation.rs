//! The files of an authority, and how one authority follows another.
//!
//! An authority is two files: the certificate, with the chain above it where it is no root, and the
//! key. Beside them stand, under the same names with an ending:
//!
//! | file | what it is |
//! |---|---|
//! | `ca.pem`, `ca.key` | the authority that signs |
//! | `ca.pem.next`, `ca.key.next` | the one that will sign from the moment that its certificate's file names in a line `Signs-from:` before the PEM block (RFC 7468 section 2 allows such text) |
//! | `ca.pem.previous` | the certificate of the one that signed before; its key is gone |
//!
//! A rotation has three steps, and between them everything goes on by itself: [`AuthorityFiles::begin`]
//! makes the next authority, which clients are then given; at its moment a running daemon signs
//! with it, also without being told; [`AuthorityFiles::finish`] gives it the names of the first one. Every
//! step is a sequence of renames of which each leaves an authority that can be used: the next one's
//! certificate is there only after its key, and once its moment has come, its key is taken from
//! either name.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    Authority, AuthorityError, Chain, NewAuthority, Passphrase, PassphraseSource,
    authority::Made,
    clock::{read_moment, show_moment},
    file::{self, Existing},
    key::{self, KeyBlock},
};

/// How the line with the moment begins.
const SIGNS_FROM: &str = "Signs-from: ";

/// Where an authority is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorityFiles {
    /// The certificate, and those above it.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// All certificates of an authority that are not secret.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The one that the files name.
    pub current: Chain,
    /// The one that follows it, and from when on it signs, in seconds since 1970.
    pub next: Option<(i64, Chain)>,
    /// The one that signed before.
    pub previous: Option<Chain>,
}

impl Certificates {
    /// Those that clients have to know, the one that signs at this moment first.
    #[must_use]
    pub fn known(&self, now: i64) -> Vec<&Chain> {
        let mut chains = vec![&self.current];
        if let Some((from, next)) = &self.next {
            let at = usize::from(*from > now);
            chains.insert(at, next);
        }
        chains.extend(&self.previous);
        chains
    }

    /// The one that signs at this moment.
    #[must_use]
    pub fn signing(&self, now: i64) -> &Chain {
        match &self.next {
            Some((from, next)) if *from <= now => next,
            _ => &self.current,
        }
    }
}

/// What is known of a key without opening it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyState {
    /// Readable by whoever may read the file.
    Plain,
    /// Only with a passphrase.
    Encrypted,
}

impl AuthorityFiles {
    fn next(&self) -> Self {
        Self {
            certificate: with_ending(&self.certificate, ".next"),
            key: with_ending(&self.key, ".next"),
        }
    }

    fn previous_certificate(&self) -> PathBuf {
        with_ending(&self.certificate, ".previous")
    }

    /// Makes an authority and writes it. A key that is there is replaced only where that is said,
    /// and then what a rotation left beside it goes too.
    ///
    /// # Errors
    ///
    /// What is wished for makes no sense, a file is there already, or cannot be written.
    pub fn create(
        &self,
        new: &NewAuthority,
        passphrase: Option<&Passphrase>,
        existing: Existing,
        now: i64,
    ) -> Result<Chain, AuthorityError> {
        self.check_absent(existing)?;
        let Made { certificate, key } = new.make(now)?;
        let chain = Chain::of(&self.certificate, &certificate)?;
        let key = key::to_pem(&key, passphrase)?;
        self.write(&chain.pem(), &key, existing)?;
        Ok(chain)
    }

    /// Takes over an authority that others made, such as an intermediate of a company's own root.
    /// Its key is copied as it is, encrypted or not.
    ///
    /// # Errors
    ///
    /// Those of [`Authority::load`] for the files that are read, and of [`AuthorityFiles::create`] for
    /// those that are written.
    pub fn import(
        &self,
        from: &Self,
        passphrase: Option<&PassphraseSource>,
        existing: Existing,
        now: i64,
    ) -> Result<Chain, AuthorityError> {
        self.check_absent(existing)?;
        let authority = Authority::load(&from.certificate, &from.key, passphrase, now)?;
        let bytes = file::read_secret(&from.key)?;
        let block = KeyBlock::find(&from.key, &bytes)?;
        let key = zeroize::Zeroizing::new(format!("{}\n", block.text()));
        self.write(&authority.chain().pem(), &key, existing)?;
        Ok(authority.chain().clone())
    }

    fn check_absent(&self, existing: Existing) -> Result<(), AuthorityError> {
        let mut taken = [&self.key, &self.certificate].into_iter();
        match taken.find(|path| existing == Existing::Keep && file::exists(path)) {
            Some(path) => Err(AuthorityError::Exists { path: path.clone() }),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        certificate: &str,
        key: &str,
        existing: Existing,
    ) -> Result<(), AuthorityError> {
        file::write(&self.key, key.as_bytes(), 0o600, existing)?;
        let written = file::write(&self.certificate, certificate.as_bytes(), 0o644, existing);
        if written.is_err() && existing == Existing::Keep {
            // The key was made a moment ago and belongs to nothing; the first error is told.
            let _ = file::remove(&self.key);
        }
        written?;
        if existing == Existing::Replace {
            let next = self.next();
            file::remove(&next.certificate)?;
            file::remove(&next.key)?;
            file::remove(&self.previous_certificate())?;
        }
        Ok(())
    }

    /// Reads the certificates. No key is looked at.
    ///
    /// # Errors
    ///
    /// One of them cannot be read or is none of a CA.
    pub fn certificates(&self) -> Result<Certificates, AuthorityError> {
        let previous = self.previous_certificate();
        Ok(Certificates {
            current: Chain::read(&self.certificate)?,
            next: read_next(&self.next().certificate)?,
            previous: file::exists(&previous)
                .then(|| Chain::read(&previous))
                .transpose()?,
        })
    }

    /// Looks whether the key of the authority that signs at this moment is there and closed to
    /// others, without opening it.
    ///
    /// # Errors
    ///
    /// The file is missing, open to others, or holds no key.
    pub fn key_state(&self, now: i64) -> Result<KeyState, AuthorityError> {
        let path = match read_next(&self.next().certificate)? {
            Some((from, _)) if from <= now => self.next_key(),
            _ => self.key.clone(),
        };
        let bytes = file::read_secret(&path)?;
        if KeyBlock::find(&path, &bytes)?.is_encrypted() {
            Ok(KeyState::Encrypted)
        } else {
            Ok(KeyState::Plain)
        }
    }

    /// Where the key of a next authority is whose moment has come.
    fn next_key(&self) -> PathBuf {
        let next = self.next().key;
        // It has its final name before the certificate has.
        if file::exists(&next) {
            next
        } else {
            self.key.clone()
        }
    }

    /// Reads the authority that signs, and the one that will.
    ///
    /// # Errors
    ///
    /// Those of [`Authority::load`].
    pub fn load(
        &self,
        passphrase: Option<&PassphraseSource>,
        now: i64,
    ) -> Result<Authorities, AuthorityError> {
        let Certificates { current, next, .. } = self.certificates()?;
        let path = &self.next().certificate;
        let mut signers = Vec::new();
        match next {
            Some((from, chain)) if from <= now => {
                chain.check_dates(path, now)?;
                let authority = Authority::with_key(chain, path, &self.next_key(), passphrase)?;
                signers.push(Signer { from, authority });
            }
            next => {
                current.check_dates(&self.certificate, now)?;
                let authority =
                    Authority::with_key(current, &self.certificate, &self.key, passphrase)?;
                let from = i64::MIN;
                signers.push(Signer { from, authority });
                if let Some((from, chain)) = next {
                    let key = &self.next().key;
                    let authority = Authority::with_key(chain, path, key, passphrase)?;
                    signers.push(Signer { from, authority });
                }
            }
        }
        Ok(Authorities(signers))
    }

    /// Begins a rotation: makes the next authority, which signs from a moment on, in seconds since
    /// 1970. Until then clients can be given it.
    ///
    /// # Errors
    ///
    /// There is no authority to follow, a rotation has begun already, the moment is past or beyond
    /// the end of either authority, or the files cannot be written.
    pub fn begin(
        &self,
        new: &NewAuthority,
        passphrase: Option<&Passphrase>,
        from: i64,
        now: i64,
    ) -> Result<Chain, AuthorityError> {
        let current = Chain::read(&self.certificate)?;
        let next = self.next();
        let refuse = |why: String| AuthorityError::Rotation {
            path: next.certificate.clone(),
            why,
        };
        if let Some((from, _)) = read_next(&next.certificate)? {
            return Err(refuse(format!(
                "a rotation has begun, whose authority signs from {}: `sluice ca rotate --finish` \
                 ends it after that, `--abort` before",
                show_moment(from)
            )));
        }
        if from < now {
            return Err(refuse(
                "the next authority cannot sign from a moment that is past".into(),
            ));
        }
        // One that has expired can be followed at any time; nothing is signed until then anyway.
        if from > current.not_after() && now < current.not_after() {
            return Err(refuse(format!(
                "the present authority ends at {}: let the next one sign before",
                show_moment(current.not_after())
            )));
        }
        let Made { certificate, key } = new.make(now)?;
        let chain = Chain::of(&next.certificate, &certificate)?;
        if from >= chain.not_after() {
            return Err(refuse(
                "the next authority would end before it signs".into(),
            ));
        }
        let key = key::to_pem(&key, passphrase)?;
        // A key without its certificate is what an interrupted beginning left.
        file::write(&next.key, key.as_bytes(), 0o600, Existing::Replace)?;
        let text = format!("{SIGNS_FROM}{}\n{}", show_moment(from), chain.pem());
        file::write(&next.certificate, text.as_bytes(), 0o644, Existing::Keep)?;
        Ok(chain)
    }

    /// Ends a rotation whose moment has come: the next authority becomes the present one, the key
    /// of the former is gone, and its certificate stays as the previous one.
    ///
    /// # Errors
    ///
    /// No rotation has begun, its moment has not come, or the files cannot be written.
    pub fn finish(&self, now: i64) -> Result<Chain, AuthorityError> {
        let next = self.next();
        let (from, chain) = self.begun()?;
        if from > now {
            return Err(AuthorityError::Rotation {
                path: next.certificate,
                why: format!("signs only from {}: finish after that", show_moment(from)),
            });
        }
        // Already renamed where an earlier finish was interrupted; then so was this.
        if file::exists(&next.key) {
            let current = Chain::read(&self.certificate)?.pem();
            let previous = self.previous_certificate();
            file::write(&previous, current.as_bytes(), 0o644, Existing::Replace)?;
            file::rename(&next.key, &self.key)?;
        }
        file::rename(&next.certificate, &self.certificate)?;
        Ok(chain)
    }

    /// Takes back a rotation whose moment has not come.
    ///
    /// # Errors
    ///
    /// No rotation has begun, the next authority signs already, or the files cannot be removed.
    pub fn abort(&self, now: i64) -> Result<Chain, AuthorityError> {
        let next = self.next();
        let (from, chain) = self.begun()?;
        if from <= now {
            return Err(AuthorityError::Rotation {
                path: next.certificate,
                why: format!(
                    "signs since {}: finish the rotation, and begin another if it is not wanted",
                    show_moment(from)
                ),
            });
        }
        file::remove(&next.certificate)?;
        file::remove(&next.key)?;
        Ok(chain)
    }

    fn begun(&self) -> Result<(i64, Chain), AuthorityError> {
        let path = self.next().certificate;
        read_next(&path)?.ok_or_else(|| AuthorityError::Rotation {
            path,
            why: "no rotation has begun: `sluice ca rotate` begins one".into(),
        })
    }
}

fn read_next(path: &Path) -> Result<Option<(i64, Chain)>, AuthorityError> {
    if !file::exists(path) {
        return Ok(None);
    }
    let bytes = file::read(path)?;
    let chain = Chain::parse(path, &bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix(SIGNS_FROM));
    let from = line.and_then(|moment| read_moment(moment.trim_end()));
    match from {
        Some(from) => Ok(Some((from, chain))),
        None => Err(AuthorityError::Rotation {
            path: path.into(),
            why: format!(
                "says not when it signs: expected a line such as \"{SIGNS_FROM}{}\" before the \
                 certificate",
                show_moment(0)
            ),
        }),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// The authorities that sign, each from its moment on.
#[derive(Debug)]
pub struct Authorities(Vec<Signer>);

#[derive(Debug)]
struct Signer {
    from: i64,
    authority: Authority,
}

impl Authorities {
    /// The one that signs at this moment, and its number. There is always one: before the moment
    /// of the only one, it is that one.
    pub(crate) fn at(&self, now: i64) -> (u8, &Authority) {
        let numbered = (0..).zip(&self.0);
        let begun = numbered.filter(|(number, signer)| *number == 0 || signer.from <= now);
        #[expect(clippy::unreachable, reason = "none are made without a first")]
        begun
            .map(|(number, signer)| (number, &signer.authority))
            .last()
            .unwrap_or_else(|| unreachable!("no authority"))
    }

    /// The one that signs at this moment.
    #[must_use]
    pub fn signing(&self, now: i64) -> &Authority {
        self.at(now).1
    }

    /// The moment from which on each signs, in seconds since 1970, with its chain; `None`: always.
    pub fn chains(&self) -> impl Iterator<Item = (Option<i64>, &Chain)> {
        self.0.iter().map(|signer| {
            let from = Some(signer.from).filter(|from| *from != i64::MIN);
            (from, signer.authority.chain())
        })
    }
}

impl From<Authority> for Authorities {
    fn from(authority: Authority) -> Self {
        Self(vec![Signer {
            from: i64::MIN,
            authority,
        }])
    }
}
