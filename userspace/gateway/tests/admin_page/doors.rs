//! Who may ask.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use sluice_gateway::config::Config;

use crate::lab::{Answer, Daemon, try_exchange};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A daemon whose configuration is a file, beside which others are.
fn behind(folder: &Path, admin: &str) -> Daemon {
    let file = folder.join("sluice.toml");
    let text =
        format!("[gateway]\nlan = [\"lan0\"]\n[admin]\nlisten = [\"0.0.0.0:9443\"]\n{admin}\n");
    fs::write(&file, text).unwrap();
    Daemon::behind(&Config::load(&file).unwrap(), "0.0.0.0:0")
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_open_address_wants_the_token_or_its_cookie() {
    let folder = tempfile::tempdir().unwrap();
    private(&folder.path().join("token"), &format!("{TOKEN}\n"));
    let daemon = behind(
        folder.path(),
        "token_file = \"token\"\ndanger_plaintext = true",
    );
    for path in [
        "/metrics",
        "/healthz",
        "/api/summary",
        "/api/events",
        "/api/records",
        "/api/identity",
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    // The page itself says nothing.
    assert_eq!(daemon.get("/").status, 200);
    assert_eq!(daemon.get("/app.js").status, 200);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for path in ["/metrics", "/healthz", "/api/summary"] {
        assert_eq!(daemon.ask("GET", path, &bearer, "").status, 200, "{path}");
    }
    // Telling who has an address stays with the Unix socket.
    let told = daemon.ask(
        "PUT",
        "/api/identity/10.0.0.1",
        &bearer,
        r#"{"user":"eve"}"#,
    );
    assert!(told.status >= 400, "{}", told.status);

    let login = format!("{{\"token\":\"{TOKEN}\"}}");
    let origin = format!(
        "Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n",
        daemon.address
    );
    let answer = daemon.ask("POST", "/api/login", &origin, &login);
    assert_eq!(answer.status, 200);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(
        !cookie.contains(TOKEN) && !cookie.contains("Secure"),
        "{cookie}"
    );
    let shown = format!("Cookie: a=b; {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(daemon.ask("GET", "/api/summary", &shown, "").status, 200);
    // Another site's page cannot use it, and cannot log in.
    let foreign = format!("{shown}Origin: http://evil.example\r\n");
    assert_eq!(
        daemon.ask("POST", "/api/explain", &foreign, "{}").status,
        403
    );
    assert_eq!(
        daemon
            .ask(
                "POST",
                "/api/login",
                "Sec-Fetch-Site: cross-site\r\n",
                &login
            )
            .status,
        403
    );

    let wrong = daemon.ask("POST", "/api/login", "", r#"{"token":"guess"}"#);
    assert_eq!(wrong.status, 401);
    let waits = daemon.ask("GET", "/metrics", &bearer, "");
    assert_eq!(waits.status, 429);
    assert!(waits.header("retry-after").is_some());
    assert_eq!(daemon.ask("GET", "/api/summary", &shown, "").status, 200);
    assert_eq!(daemon.ask("DELETE", "/api/login", &shown, "").status, 200);
    assert_eq!(daemon.ask("GET", "/api/summary", &shown, "").status, 401);
}

#[test]
fn names_that_lead_here_by_a_trick_are_not_answered() {
    let daemon = Daemon::start("[admin]\nnames = [\"gateway.example\"]\n");
    let ask = |host: &str| {
        daemon
            .ask("GET", "/api/summary", &format!("Host: {host}\r\n"), "")
            .status
    };
    for host in ["localhost:1", "127.0.0.1", "[::1]:9443", "gateway.example"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9443",
        "127.0.0.1.evil.example",
    ] {
        assert_eq!(ask(host), 421, "{host}");
    }
    for path in ["/", "/metrics"] {
        let answer = daemon.ask("GET", path, "Host: evil.example\r\n", "");
        assert_eq!(answer.status, 421, "{path}");
    }
}

struct Files {
    folder: tempfile::TempDir,
    authority: String,
    client: (String, String),
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.into()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = leaf("gateway.example");
    let path = |name: &str| folder.path().join(name);
    private(&path("admin.pem"), &certificate);
    private(&path("admin.key"), &key);
    private(&path("ca.pem"), &issuer.pem());
    private(&path("token"), TOKEN);
    Files {
        authority: issuer.pem(),
        client: leaf("prometheus"),
        folder,
    }
}

/// Asks over TLS; `None` where the handshake fails.
fn ask_tls(daemon: &Daemon, files: &Files, with: bool, more: &str) -> Option<Answer> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(files.authority.as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if with {
        let chain = CertificateDer::from_pem_slice(files.client.0.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(files.client.1.as_bytes()).unwrap();
        builder.with_client_auth_cert(vec![chain], key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let name = ServerName::try_from("gateway.example").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = daemon.dial();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).ok()?;
    }
    let stream = StreamOwned::new(connection, stream);
    let host = format!("Host: {}\r\n{more}", daemon.address);
    // In TLS 1.3 the client hears of its refusal only behind its own handshake.
    try_exchange(stream, "GET", "/api/summary", &host, "")
}

#[test]
fn an_open_address_speaks_tls_and_may_want_certificates_of_clients() {
    let files = files();
    let tls = "certificate = \"admin.pem\", key = \"admin.key\"";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let daemon = behind(
        files.folder.path(),
        &format!("token_file = \"token\"\ntls = {{ {tls} }}"),
    );
    assert_eq!(ask_tls(&daemon, &files, false, "").unwrap().status, 401);
    assert_eq!(
        ask_tls(&daemon, &files, false, &bearer).unwrap().status,
        200
    );
    drop(daemon);

    let daemon = behind(
        files.folder.path(),
        &format!("tls = {{ {tls}, client_ca = \"ca.pem\" }}"),
    );
    assert!(ask_tls(&daemon, &files, false, "").is_none());
    assert_eq!(ask_tls(&daemon, &files, true, "").unwrap().status, 200);
    drop(daemon);

    // Both, where both are named.
    let daemon = behind(
        files.folder.path(),
        &format!("token_file = \"token\"\ntls = {{ {tls}, client_ca = \"ca.pem\" }}"),
    );
    assert_eq!(ask_tls(&daemon, &files, true, "").unwrap().status, 401);
    assert_eq!(ask_tls(&daemon, &files, true, &bearer).unwrap().status, 200);
    assert!(ask_tls(&daemon, &files, false, &bearer).is_none());
}

#[test]
fn what_would_leave_an_address_open_is_refused() {
    let files = files();
    let mistakes = |admin: &str| {
        let file = files.folder.path().join("sluice.toml");
        let text = format!(
            "[gateway]\nlan = [\"lan0\"]\n[admin]\nlisten = [\"192.0.2.1:9443\"]\n{admin}\n"
        );
        fs::write(&file, text).unwrap();
        Config::load(&file)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let tls = "tls = { certificate = \"admin.pem\", key = \"admin.key\" }";
    let bare = mistakes("").unwrap_err();
    assert!(
        bare.contains("`token_file`") && bare.contains("in the clear"),
        "{bare}"
    );
    assert!(
        mistakes(tls)
            .unwrap_err()
            .contains("others than this machine")
    );
    assert!(
        mistakes("token_file = \"token\"")
            .unwrap_err()
            .contains("in the clear")
    );
    assert_eq!(mistakes(&format!("token_file = \"token\"\n{tls}")), Ok(()));
    assert_eq!(
        mistakes("token_file = \"token\"\ndanger_plaintext = true"),
        Ok(())
    );
    private(&files.folder.path().join("short"), "secret");
    let short = mistakes("token_file = \"short\"\ndanger_plaintext = true").unwrap_err();
    assert!(
        short.contains("at least 32 printable characters"),
        "{short}"
    );
    let token = files.folder.path().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = mistakes("token_file = \"token\"\ndanger_plaintext = true").unwrap_err();
    assert!(open.contains("others can read it (mode 644)"), "{open}");
    let half =
        mistakes("tls = { certificate = \"admin.pem\", client_ca = \"ca.pem\" }").unwrap_err();
    assert!(half.contains("`key` is missing in [admin] tls"), "{half}");
    let name =
        mistakes("danger_plaintext = true\ntoken_file = \"short\"\nnames = [\"a:1\"]").unwrap_err();
    assert!(name.contains("without a port"), "{name}");
}
