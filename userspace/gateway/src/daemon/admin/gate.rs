//! Who may ask: by the way in, the name that was asked for, and what is shown.
//!
//! Loopback and Unix sockets ask nobody who they are: whoever is on the machine may look, and the
//! mode of the socket's file says who that is. What a browser brings from somewhere else is refused
//! there too, by the name that it believes to ask and by what it says of where it comes from. Any other
//! address wants the token, or the cookie that was given for it, or a client's certificate.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use http::uri::Authority;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, ORIGIN};
use hyper::{Method, StatusCode};
use lru::LruCache;
use tokio_rustls::TlsAcceptor;

use crate::config::{Admin, ListenerTls};
use crate::identity::attempts::place;
use crate::listener_tls;

/// The name of the cookie that stands for the token.
const COOKIE_NAME: &str = "sluice-session";
/// How long a cookie is worth something.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Browsers that are logged in at once; the one that came first goes for the next.
const SESSIONS: usize = 64;
/// Addresses whose wrong tokens are remembered.
const GUESSERS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long an address waits after its first wrong token, and at most.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

/// The way by which a question came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// A loopback address: anybody on the machine, a page in a browser included, may have asked.
    Tcp,
    /// Whoever the mode of the socket's file lets in.
    Unix,
    /// Any other address.
    Open {
        /// Who asks.
        peer: IpAddr,
        /// Whether nobody on the way can read it.
        tls: bool,
    },
}

/// Why a question is not answered.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Denial {
    /// It comes from a page of somebody else's.
    CrossSite,
    /// It asks for a name that is none of the daemon's.
    Host,
    /// It shows nothing that is known.
    Unknown,
    /// Too many wrong tokens came from there.
    Wait(Duration),
}

impl Denial {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::CrossSite => StatusCode::FORBIDDEN,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(super) const fn text(&self) -> &'static str {
        match self {
            Self::CrossSite => "a page of another site asked for this\n",
            Self::Host => {
                "the daemon is not asked by this name: use its address, or write the name into `names` in [admin]\n"
            }
            Self::Unknown => {
                "show the token of `token_file` in [admin], as Authorization: Bearer\n"
            }
            Self::Wait(_) => "too many wrong tokens came from there: wait\n",
        }
    }
}

/// What lets questions in.
pub struct Gate {
    names: Vec<String>,
    /// Digests are compared, whose length says nothing of the token's.
    token: Option<[u8; 32]>,
    tls: Option<TlsAcceptor>,
    /// Whether handshakes ask clients for certificates.
    certificates: bool,
    sessions: Mutex<Vec<Session>>,
    guessers: Mutex<LruCache<IpAddr, Guesser>>,
}

struct Session {
    /// The digest of what the cookie has.
    digest: [u8; 32],
    until: Instant,
}

struct Guesser {
    wrong: u32,
    until: Instant,
}

impl Default for Gate {
    /// One for loopback and Unix sockets alone.
    fn default() -> Self {
        Self {
            names: Vec::new(),
            token: None,
            tls: None,
            certificates: false,
            sessions: Mutex::default(),
            guessers: Mutex::new(LruCache::new(GUESSERS)),
        }
    }
}

impl Gate {
    /// The gate that the configuration asks for.
    ///
    /// # Errors
    ///
    /// The files of `tls` cannot be read, or do not fit each other.
    pub fn new(admin: &Admin) -> anyhow::Result<Self> {
        let tls = admin.tls.as_ref().map(acceptor).transpose()?;
        let token = admin.token.as_ref();
        Ok(Self {
            names: admin.names.clone(),
            token: token.map(|token| sha256(token.reveal().as_bytes())),
            tls,
            certificates: admin
                .tls
                .as_ref()
                .is_some_and(|tls| tls.client_ca.is_some()),
            ..Self::default()
        })
    }

    /// What handshakes are made with at addresses that are not loopback.
    pub(super) fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// Whether the way in and the name let the question in; nobody is asked who they are yet.
    pub(super) fn is_ours(
        &self,
        door: Door,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
    ) -> Result<(), Denial> {
        if door == Door::Unix {
            return Ok(());
        }
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if hosts.next().is_some() || !host.is_none_or(|host| self.knows(host)) {
            return Err(Denial::Host);
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if reads && !path.starts_with("/api/") {
            return Ok(());
        }
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        if !matches!(site, None | Some(b"same-origin" | b"none")) {
            return Err(Denial::CrossSite);
        }
        let origin = headers
            .get(ORIGIN)
            .map(|one| one.to_str().unwrap_or_default());
        let same = |origin: &str| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == host
        };
        match origin {
            Some(origin) if !same(origin) => Err(Denial::CrossSite),
            _ => Ok(()),
        }
    }

    /// Whether a name is one of the daemon's. An address is nobody else's: a page whose name was
    /// pointed at this machine asks by that name.
    fn knows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        if host.contains('@') {
            return false;
        }
        let name = authority.host().trim_matches(['[', ']']);
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || name == "localhost" || self.names.contains(&name)
    }

    /// Whether what a question shows lets it in.
    pub(super) fn recognise(&self, door: Door, headers: &HeaderMap) -> Result<(), Denial> {
        let Door::Open { peer, .. } = door else {
            return Ok(());
        };
        // Without a token the handshake has asked for a certificate, or nobody is let in.
        if self.token.is_none() {
            return if self.certificates {
                Ok(())
            } else {
                Err(Denial::Unknown)
            };
        }
        let now = Instant::now();
        if cookie(headers).is_some_and(|cookie| self.is_session(cookie, now)) {
            return Ok(());
        }
        let shown = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = shown.and_then(|shown| {
            let (scheme, token) = shown.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            Some(token) => self.check(peer, token, now),
            None => Err(Denial::Unknown),
        }
    }

    /// Compares a token, and has whoever showed a wrong one wait.
    fn check(&self, peer: IpAddr, token: &str, now: Instant) -> Result<(), Denial> {
        let peer = place(peer);
        let mut guessers = lock(&self.guessers);
        if let Some(guesser) = guessers.get(&peer)
            && let Some(left) = guesser.until.checked_duration_since(now)
            && !left.is_zero()
        {
            return Err(Denial::Wait(left));
        }
        let is_right = self.token.is_some_and(|right| {
            verify_slices_are_equal(&right, &sha256(token.as_bytes())).is_ok()
        });
        if is_right {
            guessers.pop(&peer);
            return Ok(());
        }
        let wrong = guessers.get(&peer).map_or(0, |guesser| guesser.wrong) + 1;
        let wait = WAITS.0 * 2_u32.saturating_pow(wrong.min(10) - 1);
        let until = now + wait.min(WAITS.1);
        guessers.put(peer, Guesser { wrong, until });
        drop(guessers);
        tracing::warn!(%peer, wrong, "a wrong token at an admin address");
        Err(Denial::Unknown)
    }

    /// Takes a token for a cookie, which is returned as `Set-Cookie` has it.
    pub(super) fn log_in(&self, door: Door, token: &str) -> Result<Option<String>, Denial> {
        let Door::Open { peer, tls } = door else {
            return Ok(None);
        };
        let now = Instant::now();
        self.check(peer, token, now)?;
        let mut random = [0; 32];
        if SystemRandom::new().fill(&mut random).is_err() {
            return Err(Denial::Unknown);
        }
        let value: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = lock(&self.sessions);
        sessions.retain(|session| session.until > now);
        if sessions.len() >= SESSIONS {
            sessions.remove(0);
        }
        sessions.push(Session {
            digest: sha256(value.as_bytes()),
            until: now + SESSION,
        });
        let secure = if tls { "; Secure" } else { "" };
        Ok(Some(format!(
            "{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
            SESSION.as_secs()
        )))
    }

    /// Forgets the cookie of a question.
    pub(super) fn log_out(&self, headers: &HeaderMap) -> String {
        if let Some(cookie) = cookie(headers) {
            let digest = sha256(cookie.as_bytes());
            lock(&self.sessions).retain(|session| session.digest != digest);
        }
        format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    fn is_session(&self, cookie: &str, now: Instant) -> bool {
        let digest = sha256(cookie.as_bytes());
        let sessions = lock(&self.sessions);
        sessions.iter().any(|session| {
            session.until > now && verify_slices_are_equal(&session.digest, &digest).is_ok()
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter();
    all.filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().try_into().unwrap_or_default()
}

fn acceptor(files: &ListenerTls) -> anyhow::Result<TlsAcceptor> {
    let key = &files.key;
    let told = || format!("`tls` in [admin]: {}", key.display());
    let mode = std::fs::metadata(key).with_context(told)?.mode() & 0o7777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "{}: others can read it (mode {mode:o}): `chmod 600` it",
        told()
    );
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = listener_tls::server(files, provider, false).context("`tls` in [admin]")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate {
            names: vec!["gateway.example".into()],
            token: Some(sha256(b"right")),
            ..Gate::default()
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const DOOR: Door = Door::Open {
        peer: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        tls: true,
    };

    #[test]
    fn only_names_of_the_daemon_are_asked() {
        let gate = gate();
        for host in [
            "127.0.0.1:9443",
            "127.0.0.1",
            "[::1]:9443",
            "localhost:9443",
            "LOCALHOST",
            "gateway.example:9443",
            "Gateway.Example.",
            "192.0.2.1",
        ] {
            assert!(gate.knows(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9443",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "gateway.example.evil.example",
            "a b",
        ] {
            assert!(!gate.knows(host), "{host}");
        }
        let twice = headers(&[("host", "localhost"), ("host", "evil.example")]);
        let asked = gate.is_ours(Door::Tcp, (&Method::GET, "/"), &twice);
        assert_eq!(asked, Err(Denial::Host));
        assert_eq!(
            gate.is_ours(Door::Unix, (&Method::GET, "/"), &twice),
            Ok(())
        );
    }

    #[test]
    fn what_other_sites_ask_is_refused() {
        let gate = gate();
        let ask = |method: Method, path: &str, more: &[(&'static str, &str)]| {
            let all = [&[("host", "127.0.0.1:9443")], more].concat();
            gate.is_ours(Door::Tcp, (&method, path), &headers(&all))
        };
        let refused = Err(Denial::CrossSite);
        for site in ["cross-site", "same-site", "nonsense"] {
            let site = [("sec-fetch-site", site)];
            assert_eq!(ask(Method::POST, "/api/explain", &site), refused);
            assert_eq!(ask(Method::GET, "/api/records", &site), refused);
            // A link leads to the page.
            assert_eq!(ask(Method::GET, "/", &site), Ok(()));
        }
        for origin in ["null", "http://evil.example", "http://127.0.0.1:9444", ""] {
            let origin = [("origin", origin)];
            assert_eq!(ask(Method::DELETE, "/api/rejected", &origin), refused);
        }
        let own = [
            ("origin", "http://127.0.0.1:9443"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(ask(Method::POST, "/api/explain", &own), Ok(()));
        assert_eq!(ask(Method::DELETE, "/api/rejected", &[]), Ok(()));
    }

    #[test]
    fn a_token_or_its_cookie_lets_in_and_a_wrong_one_waits() {
        let gate = gate();
        let ask = |pairs: &[(&'static str, &str)]| gate.recognise(DOOR, &headers(pairs));
        assert_eq!(ask(&[]), Err(Denial::Unknown));
        assert_eq!(ask(&[("authorization", "bearer right")]), Ok(()));
        let cookie = gate.log_in(DOOR, "right").unwrap().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict;") && cookie.ends_with("; Secure"));
        let shown = cookie.split(';').next().unwrap();
        assert_eq!(ask(&[("cookie", shown)]), Ok(()));
        assert_eq!(
            ask(&[("authorization", "Bearer wrong")]),
            Err(Denial::Unknown)
        );
        let right = [("authorization", "Bearer right")];
        assert!(matches!(ask(&right), Err(Denial::Wait(_))));
        // The cookie is no guess.
        assert_eq!(ask(&[("cookie", shown)]), Ok(()));
        gate.log_out(&headers(&[("cookie", shown)]));
        assert_eq!(ask(&[("cookie", shown)]), Err(Denial::Unknown));
        let forged = format!("{COOKIE_NAME}=right");
        assert_eq!(ask(&[("cookie", &forged)]), Err(Denial::Unknown));
        assert_eq!(gate.recognise(Door::Tcp, &HeaderMap::new()), Ok(()));
        // A gate that knows nothing lets nobody in.
        let bare = Gate::default().recognise(DOOR, &headers(&right));
        assert_eq!(bare, Err(Denial::Unknown));
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let gate = gate();
        let peer: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour = "2001:db8::2".parse().unwrap();
        let mut now = Instant::now();
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            assert_eq!(gate.check(peer, "wrong", now), Err(Denial::Unknown));
            let Err(Denial::Wait(left)) = gate.check(neighbour, "right", now) else {
                panic!("no wait");
            };
            assert!(left >= longest && left <= WAITS.1, "{left:?}");
            (longest, now) = (left, now + left);
        }
        assert_eq!(longest, WAITS.1);
        assert_eq!(gate.check(peer, "right", now), Ok(()));
        assert_eq!(gate.check(peer, "wrong", now), Err(Denial::Unknown));
    }

    #[test]
    fn only_so_many_are_logged_in() {
        let gate = gate();
        for _ in 0..2 * SESSIONS {
            gate.log_in(DOOR, "right").unwrap();
        }
        assert_eq!(lock(&gate.sessions).len(), SESSIONS);
    }
}
