//! What Kerberos is told of, and whom a principal stands for.

use std::path::Path;

use sluice_gateway::identity::negotiate::{SUPPORTED, Settings};

fn settings(service: &str, realm: &str) -> Result<Settings, String> {
    Settings::new(Path::new("/etc/sluice/http.keytab"), service, realm, true)
}

#[test]
fn a_program_without_kerberos_names_the_feature() {
    let made = settings("HTTP@proxy.example", "EXAMPLE.COM");
    if SUPPORTED {
        made.unwrap();
        let relative = Path::new("http.keytab");
        let error = Settings::new(relative, "HTTP@proxy.example", "EXAMPLE.COM", true);
        assert!(error.unwrap_err().starts_with("`keytab`: \"http.keytab\""));
        for service in ["proxy.example", "HTTP/proxy.example", "HTTP@", "HTTP@a b"] {
            let error = settings(service, "EXAMPLE.COM").unwrap_err();
            assert!(error.starts_with("`service`: "), "{error}");
        }
        for realm in ["", "A@B", "A B", "A/B"] {
            let error = settings("HTTP@proxy.example", realm).unwrap_err();
            assert!(error.starts_with("`realm`: "), "{error}");
        }
    } else {
        let error = made.unwrap_err();
        assert!(error.contains("--features kerberos"), "{error}");
        assert!(error.contains("cargo xtask setup --kerberos"), "{error}");
    }
}

#[test]
fn a_principal_is_a_user_only_of_the_realm() {
    let mut settings = Settings {
        keytab: "/etc/sluice/http.keytab".into(),
        service: "HTTP@proxy.example".into(),
        realm: "EXAMPLE.COM".into(),
        strip_realm: true,
    };
    let long = format!("{}@EXAMPLE.COM", "a".repeat(201));
    for (principal, user) in [
        ("alice@EXAMPLE.COM", Some("alice")),
        ("host/a.example@EXAMPLE.COM", Some("host/a.example")),
        ("alice@OTHER.COM", None),
        ("alice@example.com", None),
        ("alice@EXAMPLE.COM@OTHER.COM", None),
        // The name `alice@EXAMPLE.COM` in another realm, as the library writes it.
        ("alice\\@EXAMPLE.COM@OTHER.COM", None),
        ("alice\\@EXAMPLE.COM", None),
        ("alice", None),
        ("@EXAMPLE.COM", None),
        ("a\nb@EXAMPLE.COM", None),
        (&long, None),
        ("WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS", None),
    ] {
        assert_eq!(settings.user(principal).as_deref(), user, "{principal}");
    }
    settings.strip_realm = false;
    let user = settings.user("alice@EXAMPLE.COM");
    assert_eq!(user.as_deref(), Some("alice@EXAMPLE.COM"));
    assert_eq!(settings.user("alice@OTHER.COM"), None);
}
