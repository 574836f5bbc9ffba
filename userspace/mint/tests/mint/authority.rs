//! What is made, imported and refused.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    time::Duration,
};

use rcgen::{BasicConstraints, IsCa, KeyPair, KeyUsagePurpose};
use sluice_mint::{
    AuthorityError, AuthorityFiles, Existing, KeyKind, KeyState, NewAuthority, PassphraseSource,
};

use crate::help::{Company, DAY, Place, ca_params, real_now, tool};

fn refused(files: &AuthorityFiles) -> String {
    match files.load(None, real_now()) {
        Ok(_) => panic!("{} is taken", files.certificate.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn e4_files_are_written_for_their_owner_and_never_overwritten_unasked() {
    let now = real_now();
    let place = Place::with(&NewAuthority::default(), now);
    let mode = |path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&place.files.key), 0o600);
    assert_eq!(mode(&place.files.certificate), 0o644);
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2);
    let key = fs::read(&place.files.key).unwrap();
    let new = NewAuthority::default();
    let again = place.files.create(&new, None, Existing::Keep, now);
    assert!(matches!(again, Err(AuthorityError::Exists { .. })));
    // A certificate alone is enough to refuse, before any key is made.
    fs::remove_file(&place.files.key).unwrap();
    let again = place.files.create(&new, None, Existing::Keep, now);
    assert!(matches!(again, Err(AuthorityError::Exists { .. })));
    assert!(!place.files.key.exists());
    place
        .files
        .create(&new, None, Existing::Replace, now)
        .unwrap();
    assert_ne!(fs::read(&place.files.key).unwrap(), key);
    place.load(now);
}

#[test]
fn e3_no_two_authorities_are_alike() {
    let now = real_now();
    let make = || {
        let place = Place::with(&NewAuthority::default(), now);
        let chain = place.files.certificates().unwrap().current;
        (
            chain.signing().subject.clone(),
            fs::read(&place.files.key).unwrap(),
        )
    };
    let (one, two) = (make(), make());
    assert_ne!(one.0, two.0);
    assert_ne!(one.1, two.1);
}

#[test]
fn e4_a_key_that_others_could_have_read_is_refused() {
    let now = real_now();
    let place = Place::with(&NewAuthority::default(), now);
    let set =
        |mode| fs::set_permissions(&place.files.key, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o644, 0o660, 0o666, 0o604] {
        set(mode);
        let error = refused(&place.files);
        assert!(
            error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600"),
            "{error}"
        );
    }
    set(0o600);
    let link = place.path("link.key");
    symlink(&place.files.key, &link).unwrap();
    let files = AuthorityFiles {
        key: link,
        ..place.files.clone()
    };
    assert!(refused(&files).contains("is a symbolic link"));
    // Only root can give a file away, and root runs these tests only sometimes.
    if std::os::unix::fs::chown(&place.files.key, Some(12_345), None).is_ok() {
        let error = refused(&place.files);
        assert!(error.contains("belongs to user 12345"), "{error}");
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    let place = Place::empty();
    let make = |name: &str, change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = ca_params("Company");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        place.put(name, &pem, &key.serialize_pem())
    };
    make("good", &|_| {}).load(None, real_now()).unwrap();
    let at =
        |days: i64| time::OffsetDateTime::from_unix_timestamp(real_now() + days * DAY).unwrap();
    for (word, files) in [
        (
            "is no CA's",
            make("leaf", &|params| params.is_ca = IsCa::ExplicitNoCa),
        ),
        (
            "is no CA's",
            make("plain", &|params| params.is_ca = IsCa::NoCa),
        ),
        (
            "may not sign certificates",
            make("usage", &|params| {
                params.key_usages = vec![KeyUsagePurpose::CrlSign];
            }),
        ),
        (
            "may not sign certificates",
            make("none", &|params| params.key_usages = vec![]),
        ),
        (
            "lacks serverAuth",
            make("purpose", &|params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ),
        (
            "expired at",
            make("expired", &|params| params.not_after = at(-1)),
        ),
        (
            "not valid before",
            make("early", &|params| params.not_before = at(1)),
        ),
        (
            "has an empty subject",
            make("anonymous", &|params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
            }),
        ),
        (
            "critical extension 1.2.3.4",
            make("critical", &|params| {
                let mut unknown =
                    rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                unknown.set_criticality(true);
                params.custom_extensions = vec![unknown];
            }),
        ),
    ] {
        let error = refused(&files);
        assert!(error.contains(word), "{word}: {error}");
        assert!(
            error.contains(&files.certificate.display().to_string()),
            "{error}"
        );
    }
    let good = make("one", &|_| {});
    let other = make("two", &|_| {});
    let mixed = AuthorityFiles {
        key: other.key,
        ..good.clone()
    };
    assert!(refused(&mixed).contains("is not the key of the certificate"));
    let pem = fs::read_to_string(&good.certificate).unwrap();
    for (name, certificate, key, word) in [
        ("a", "", "x", "holds no certificate"),
        (
            "b",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "x",
            "PEM",
        ),
        ("c", pem.as_str(), "no key", "holds no private key"),
        ("d", pem.as_str(), pem.as_str(), "holds no private key"),
    ] {
        let error = refused(&place.put(name, certificate, key));
        assert!(error.contains(word), "{word}: {error}");
    }
    let missing = AuthorityFiles {
        certificate: place.path("nothing"),
        ..good
    };
    assert!(refused(&missing).contains("`sluice ca init` makes an authority"));
}

#[test]
fn an_intermediate_is_imported_with_what_is_above_it() {
    let now = real_now();
    let company = Company::new(
        |_| {},
        |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        },
    );
    let place = Place::empty();
    let both = format!("{}{}", company.intermediate, company.root);
    let from = place.put("company", &both, &company.key);
    let chain = place
        .files
        .import(&from, None, Existing::Keep, now)
        .unwrap();
    assert_eq!(chain.certificates().len(), 2);
    assert!(chain.anchor().is_root() && !chain.signing().is_root());
    let warnings = chain.warnings(now);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("has no name constraints"),
        "{warnings:?}"
    );
    let again = place.files.import(&from, None, Existing::Keep, now);
    assert!(matches!(again, Err(AuthorityError::Exists { .. })));
    place.load(now);
    let mode = fs::metadata(&place.files.key).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    // Without the root it serves as well.
    let alone = place.put("alone", &company.intermediate, &company.key);
    assert!(alone.load(None, now).is_ok());
    let chain = alone.certificates().unwrap().current;
    assert_eq!(chain.anchor().fingerprint, chain.signing().fingerprint);
}

#[test]
fn a_chain_that_clients_would_refuse_is_refused() {
    let place = Place::empty();
    let company = Company::new(
        |root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        |_| {},
    );
    let both = format!("{}{}", company.intermediate, company.root);
    let error = refused(&place.put("length", &both, &company.key));
    assert!(
        error.contains("certificate 2") && error.contains("its pathLen forbids"),
        "{error}"
    );

    let company = Company::new(|_| {}, |_| {});
    let other = Company::new(|_| {}, |_| {});
    for (name, pem) in [
        ("order", format!("{}{}", company.root, company.intermediate)),
        (
            "stranger",
            format!("{}{}", company.intermediate, other.root),
        ),
    ] {
        let error = refused(&place.put(name, &pem, &company.key));
        assert!(error.contains("did not sign the one before it"), "{error}");
    }
    let expired = Company::new(
        |root| {
            let yesterday = real_now() - DAY;
            root.not_before = time::OffsetDateTime::from_unix_timestamp(yesterday - DAY).unwrap();
            root.not_after = time::OffsetDateTime::from_unix_timestamp(yesterday).unwrap();
        },
        |_| {},
    );
    let both = format!("{}{}", expired.intermediate, expired.root);
    assert!(refused(&place.put("old", &both, &expired.key)).contains("expired at"));
}

#[test]
fn authorities_of_openssl_are_taken() {
    let place = Place::empty();
    // What openssl makes is valid from the second in which it does.
    let now = real_now() + 60;
    let text = |path: std::path::PathBuf| path.display().to_string();
    for (name, key) in [
        ("rsa", vec!["-newkey", "rsa:2048"]),
        (
            "p384",
            vec!["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        ),
    ] {
        let files = place.put(name, "", "");
        let (certificate, plain) = (text(files.certificate.clone()), text(files.key.clone()));
        let mut arguments = vec!["req", "-x509", "-nodes", "-days", "30", "-subj"];
        arguments.extend([
            "/C=DE/O=Company/CN=Gateway CA",
            "-keyout",
            &plain,
            "-out",
            &certificate,
        ]);
        arguments.extend(["-addext", "keyUsage=critical,keyCertSign"]);
        arguments.extend(key);
        let (good, said) = tool("openssl", &arguments);
        assert!(good, "{said}");
        files.load(None, now).unwrap();
        let kind = files.certificates().unwrap().current.signing().key;
        let expected = if name == "rsa" {
            KeyKind::Rsa { bits: 2048 }
        } else {
            KeyKind::P384
        };
        assert_eq!(kind, expected);

        // Encrypted as openssl does, and in its older form for keys.
        let sealed = place.put(&format!("{name}-sealed"), "", "");
        fs::copy(&files.certificate, &sealed.certificate).unwrap();
        let out = text(sealed.key.clone());
        let pass = "pass:correct horse";
        let (good, said) = tool(
            "openssl",
            &[
                "pkcs8", "-topk8", "-in", &plain, "-out", &out, "-passout", pass,
            ],
        );
        assert!(good, "{said}");
        assert_eq!(sealed.key_state(now).unwrap(), KeyState::Encrypted);
        let missing = sealed.load(None, now).unwrap_err();
        assert!(
            matches!(missing, AuthorityError::PassphraseMissing { .. }),
            "{missing}"
        );
        let source = passphrase(&place, "correct horse");
        sealed.load(Some(&source), now).unwrap();
        let imported = AuthorityFiles {
            certificate: place.path(&format!("{name}-in.pem")),
            key: place.path(&format!("{name}-in.key")),
        };
        imported
            .import(&sealed, Some(&source), Existing::Keep, now)
            .unwrap();
        assert_eq!(imported.key_state(now).unwrap(), KeyState::Encrypted);
    }
}

fn passphrase(place: &Place, text: &str) -> PassphraseSource {
    let path = place.path("passphrase");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    PassphraseSource::File(path)
}

#[test]
fn an_encrypted_key_opens_here_and_with_openssl() {
    let now = real_now();
    let place = Place::empty();
    let source = passphrase(&place, "correct horse");
    let chosen = source.choose().unwrap();
    let new = NewAuthority::default();
    place
        .files
        .create(&new, Some(&chosen), Existing::Keep, now)
        .unwrap();
    assert_eq!(place.files.key_state(now).unwrap(), KeyState::Encrypted);
    place.files.load(Some(&source), now).unwrap();
    let missing = place.files.load(None, now).unwrap_err();
    assert!(
        matches!(missing, AuthorityError::PassphraseMissing { .. }),
        "{missing}"
    );
    let wrong = place
        .files
        .load(Some(&passphrase(&place, "wrong")), now)
        .unwrap_err();
    assert!(
        matches!(wrong, AuthorityError::PassphraseWrong { .. }),
        "{wrong}"
    );
    let path = place.files.key.display().to_string();
    let arguments = [
        "pkey",
        "-in",
        &path,
        "-passin",
        "pass:correct horse",
        "-noout",
    ];
    let (good, said) = tool("openssl", &arguments);
    assert!(good, "{said}");
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    let place = Place::empty();
    let default = NewAuthority::default;
    for (word, new) in [
        (
            "common name",
            NewAuthority {
                common_name: Some(String::new()),
                ..default()
            },
        ),
        (
            "common name",
            NewAuthority {
                common_name: Some("x".repeat(65)),
                ..default()
            },
        ),
        (
            "validity",
            NewAuthority {
                validity: Duration::from_secs(1),
                ..default()
            },
        ),
        (
            "validity",
            NewAuthority {
                validity: Duration::MAX,
                ..default()
            },
        ),
        (
            "\"a b\"",
            NewAuthority {
                permitted: vec!["a b".into()],
                ..default()
            },
        ),
        (
            "\"10.0.0.1\"",
            NewAuthority {
                excluded: vec!["10.0.0.1".into()],
                ..default()
            },
        ),
        (
            "P-256 and P-384",
            NewAuthority {
                key: KeyKind::Rsa { bits: 2048 },
                ..default()
            },
        ),
    ] {
        let error = place
            .files
            .create(&new, None, Existing::Keep, real_now())
            .unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 0);
}
