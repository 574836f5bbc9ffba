//! Where the passphrase of an encrypted key comes from.
//!
//! Never from the environment or the command line, which other processes can read.

use std::{
    env, fmt,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::{AuthorityError, file};

/// A passphrase, cleared when it goes.
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Where a passphrase is to be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PassphraseSource {
    /// The first line of a file, which must be as closed to others as the key.
    File(PathBuf),
    /// A credential that systemd gives the service (systemd.exec(5), `LoadCredential=`).
    Credential(String),
    /// Whoever sits at the terminal.
    Terminal,
}

impl PassphraseSource {
    /// Reads the passphrase of an existing key.
    ///
    /// # Errors
    ///
    /// The file or the credential cannot be read or is open to others, there is no terminal, or
    /// the passphrase is empty.
    pub fn read(&self) -> Result<Passphrase, AuthorityError> {
        match self {
            Self::File(path) => first_line(&file::read_secret(path)?),
            Self::Credential(name) => {
                let path = credential(name)?;
                first_line(&file::read_secret(&path)?)
            }
            Self::Terminal => Passphrase::new(ask("Passphrase of the CA key: ")?),
        }
    }

    /// Reads the passphrase for a new key: from a terminal twice.
    ///
    /// # Errors
    ///
    /// Those of [`PassphraseSource::read`]; the two differ.
    pub fn choose(&self) -> Result<Passphrase, AuthorityError> {
        let chosen = self.read()?;
        if *self == Self::Terminal && *ask("The same again: ")? != *chosen.0 {
            return Err(AuthorityError::Passphrase(
                "was typed differently the second time: begin again",
            ));
        }
        Ok(chosen)
    }
}

impl Passphrase {
    /// Takes a text.
    ///
    /// # Errors
    ///
    /// It is empty.
    pub fn new(text: Zeroizing<String>) -> Result<Self, AuthorityError> {
        if text.is_empty() {
            return Err(AuthorityError::Passphrase(
                "is empty: choose one, or leave the key unencrypted by naming none",
            ));
        }
        Ok(Self(text))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn first_line(bytes: &[u8]) -> Result<Passphrase, AuthorityError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| AuthorityError::Passphrase("is no text in UTF-8: write it as text"))?;
    let line = text.lines().next().unwrap_or_default();
    Passphrase::new(Zeroizing::new(line.to_owned()))
}

fn credential(name: &str) -> Result<PathBuf, AuthorityError> {
    let refused = |why| AuthorityError::Credential {
        name: name.to_owned(),
        why,
    };
    // A name in a directory, not a way out of it.
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
        return Err(refused("is no name of a credential"));
    }
    let directory = env::var_os("CREDENTIALS_DIRECTORY")
        .ok_or_else(|| refused("systemd gave this process no credentials"))?;
    Ok(Path::new(&directory).join(name))
}

/// The terminal without echo; as it was when this goes.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO;
        quiet.local_modes |= LocalModes::ECHONL;
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks at the controlling terminal, whatever the standard streams are.
fn ask(question: &str) -> Result<Zeroizing<String>, AuthorityError> {
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(AuthorityError::Terminal)?;
    terminal
        .write_all(question.as_bytes())
        .map_err(AuthorityError::Terminal)?;
    let _quiet = Quiet::new(&terminal).map_err(AuthorityError::Terminal)?;
    let mut line = Zeroizing::new(String::with_capacity(1024));
    BufReader::with_capacity(1, &terminal)
        .read_line(&mut line)
        .map_err(AuthorityError::Terminal)?;
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_gives_its_first_line_and_must_be_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "correct horse\nsecond line\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let source = PassphraseSource::File(path.clone());
        assert_eq!(source.read().unwrap().as_bytes(), b"correct horse");
        assert_eq!(source.choose().unwrap().as_bytes(), b"correct horse");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(source.read(), Err(AuthorityError::Mode { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(source.read(), Err(AuthorityError::Passphrase(_))));
    }

    #[test]
    fn a_credential_is_a_name_in_its_directory() {
        for name in ["", "..", "a/b", "/etc/shadow"] {
            let error = credential(name).unwrap_err().to_string();
            assert!(error.contains("is no name of a credential"), "{error}");
        }
    }

    #[test]
    fn e4_a_debugged_passphrase_shows_nothing() {
        let passphrase = Passphrase::new("correct horse".to_owned().into()).unwrap();
        assert_eq!(format!("{passphrase:?}"), "Passphrase");
    }
}
