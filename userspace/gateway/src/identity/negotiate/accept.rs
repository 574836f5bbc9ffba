//! Accepting tokens, by the GSSAPI library of the system (RFC 2743, RFC 4121).

use std::{env, ffi::OsStr, fmt, path::Path, sync::Arc, time::Duration};

use libgssapi::{
    context::{CtxFlags, SecurityContext as _, ServerCtx},
    credential::{Cred, CredUsage},
    name::Name,
    oid::{GSS_MECH_KRB5, GSS_MECH_SPNEGO, GSS_NT_HOSTBASED_SERVICE, OidSet},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{Accepted, NegotiateError, Settings, TOKEN_LIMIT};

/// Tokens that are looked at at once: the library reads files, and computes.
const AT_ONCE: usize = 8;
/// How long a token may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the library looks for the keytab.
const KEYTAB: &str = "KRB5_KTNAME";

/// Accepts the tokens of clients that have a ticket for a service.
pub struct Negotiate {
    settings: Arc<Settings>,
    credential: Cred,
    room: Arc<Semaphore>,
}

impl fmt::Debug for Negotiate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Negotiate")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Negotiate {
    /// Reads the keytab once, to find out whether it has a key of the service.
    ///
    /// # Errors
    ///
    /// [`NegotiateError::Unavailable`]: the keytab is another than the one that the library was
    /// told of by `KRB5_KTNAME`, cannot be read, is everybody's to read, or has no key of the
    /// service.
    pub fn new(settings: Settings) -> Result<Self, NegotiateError> {
        let keytab = &settings.keytab;
        is_told(keytab, env::var_os(KEYTAB).as_deref()).map_err(NegotiateError::Unavailable)?;
        is_private(keytab).map_err(NegotiateError::Unavailable)?;
        let unusable = |error: libgssapi::error::Error| {
            NegotiateError::Unavailable(format!(
                "no key of {} in {}: {error}",
                settings.service,
                keytab.display()
            ))
        };
        let service = settings.service.as_bytes();
        let name = Name::new(service, Some(GSS_NT_HOSTBASED_SERVICE)).map_err(unusable)?;
        let mut mechanisms = OidSet::singleton(GSS_MECH_KRB5).map_err(unusable)?;
        mechanisms.add(GSS_MECH_SPNEGO).map_err(unusable)?;
        let credential = Cred::acquire(Some(&name), None, CredUsage::Accept, Some(&mechanisms))
            .map_err(unusable)?;
        Ok(Self {
            settings: Arc::new(settings),
            credential,
            room: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Says who showed a token: what stands behind `Negotiate`, decoded.
    ///
    /// # Errors
    ///
    /// [`NegotiateError`]: it is no ticket for the service, of nobody of the realm, asks for
    /// another leg, or cannot be looked at in time.
    pub async fn accept(&self, token: &[u8]) -> Result<Accepted, NegotiateError> {
        if token.len() > TOKEN_LIMIT {
            let message = format!("it has more than {TOKEN_LIMIT} bytes");
            return Err(NegotiateError::Refused(message));
        }
        // The library would take it for a request to begin (MIT's "NegHints").
        if token.is_empty() {
            return Err(NegotiateError::Refused("it is empty".into()));
        }
        let waiting = timeout(PATIENCE, Arc::clone(&self.room).acquire_owned());
        let Ok(Ok(place)) = waiting.await else {
            return Err(NegotiateError::Busy);
        };
        let (settings, credential) = (Arc::clone(&self.settings), self.credential.clone());
        let token = token.to_vec();
        let looking = tokio::task::spawn_blocking(move || {
            let accepted = accept(&settings, credential, &token);
            // Whoever gave up waiting leaves the thread busy: the place is free only now.
            drop(place);
            accepted
        });
        looking
            .await
            .unwrap_or_else(|error| Err(NegotiateError::Unavailable(error.to_string())))
    }
}

fn accept(settings: &Settings, credential: Cred, token: &[u8]) -> Result<Accepted, NegotiateError> {
    let refused = |error: libgssapi::error::Error| NegotiateError::Refused(error.to_string());
    let mut context = ServerCtx::new(Some(credential));
    let answer = context.step(token, None).map_err(refused)?;
    if !context.is_complete() {
        return Err(NegotiateError::Continues);
    }
    if context
        .flags()
        .map_err(refused)?
        .contains(CtxFlags::GSS_C_ANON_FLAG)
    {
        return Err(NegotiateError::Refused("its user is anonymous".into()));
    }
    let name = context.source_name().and_then(|name| name.display_name());
    let name = name.map_err(refused)?;
    let principal = String::from_utf8_lossy(&name);
    match settings.user(&principal) {
        Some(user) => Ok(Accepted {
            user,
            answer: answer.map(|answer| answer.to_vec()),
        }),
        None => Err(NegotiateError::Foreign {
            principal: principal.into_owned(),
            realm: settings.realm.clone(),
        }),
    }
}

/// Whether the library was told of this keytab: it is told by the environment alone.
fn is_told(keytab: &Path, told: Option<&OsStr>) -> Result<(), String> {
    let told = told.and_then(OsStr::to_str).unwrap_or_default();
    if Path::new(told.strip_prefix("FILE:").unwrap_or(told)) == keytab {
        return Ok(());
    }
    let keytab = keytab.display();
    Err(format!(
        "`keytab`: start sluice with {KEYTAB}=FILE:{keytab} in its environment, by `Environment=` in \
         the unit: Kerberos is told of it in no other way, and knows \"{told}\""
    ))
}

fn is_private(keytab: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = keytab.display();
    let found = std::fs::metadata(keytab).map_err(|error| format!("`keytab`: {shown}: {error}"))?;
    if found.permissions().mode() & 0o007 == 0 {
        return Ok(());
    }
    Err(format!(
        "`keytab`: {shown} is everybody's to read, who could forge tickets then: chmod 640 {shown}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keytab_has_to_be_the_one_that_the_library_reads() {
        let keytab = Path::new("/etc/sluice/http.keytab");
        for told in ["/etc/sluice/http.keytab", "FILE:/etc/sluice/http.keytab"] {
            assert_eq!(is_told(keytab, Some(OsStr::new(told))), Ok(()));
        }
        for told in [None, Some(OsStr::new("FILE:/etc/krb5.keytab"))] {
            let error = is_told(keytab, told).unwrap_err();
            let cure = "KRB5_KTNAME=FILE:/etc/sluice/http.keytab in its environment";
            assert!(error.contains(cure), "{error}");
        }
    }
}
