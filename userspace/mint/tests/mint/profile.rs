//! What a leaf and an authority say, field by field, and what tools of others say of them.

use std::{collections::HashSet, fs, sync::Arc};

use rustls::sign::CertifiedKey;
use sluice_mint::{KeyKind, Leaf, MinterOptions, NewAuthority, Origin};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer, X509Certificate},
    x509::X509Version,
};

use crate::help::{Company, DAY, Place, Turned, minter, ordinary, origin, real_now, request, tool};
use sluice_mint::{Clock as _, Minter};

fn leaf_der(leaf: &Leaf) -> &[u8] {
    leaf.certified.cert.first().unwrap()
}

#[test]
fn e2_a_leaf_says_what_it_must_and_nothing_else() {
    let clock = Turned::new(1_795_000_000);
    let now = clock.unix();
    let place = Place::with(&NewAuthority::default(), now);
    let minter = Minter::new(place.load(now), &MinterOptions::default(), clock).unwrap();
    for asked in ["www.example.com", "192.0.2.1", "2001:db8::1"] {
        let leaf = ordinary(&minter, asked, now).unwrap();
        let (rest, parsed) = X509Certificate::from_der(leaf_der(&leaf)).unwrap();
        assert!(rest.is_empty());
        assert_eq!(parsed.version(), X509Version::V3);
        assert_eq!(parsed.subject().iter().count(), 0, "the subject is empty");
        let chain = place.files.certificates().unwrap().current;
        assert_eq!(parsed.issuer().to_string(), chain.signing().subject);
        assert_eq!(parsed.validity().not_before.timestamp(), now - DAY);
        assert_eq!(parsed.validity().not_after.timestamp(), now + 7 * DAY);
        assert_eq!(
            (leaf.not_before, leaf.not_after),
            (now - DAY, now + 7 * DAY)
        );

        let serial = parsed.raw_serial();
        assert!(serial.len() <= 20 && serial[0] & 0x80 == 0 && serial[0] != 0);
        assert_eq!(format!("{:x}", parsed.serial), leaf.serial);
        assert_eq!(
            sluice_mint::Fingerprint::of(leaf_der(&leaf)),
            leaf.fingerprint
        );

        let mut seen = HashSet::new();
        for extension in parsed.extensions() {
            let text = extension.oid.to_id_string();
            assert!(seen.insert(text), "{:?} twice", extension.oid);
            let critical = match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => {
                    assert_eq!(usage.flags, 1, "digitalSignature alone");
                    true
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    assert!(usage.server_auth);
                    assert!(!usage.any && !usage.client_auth && !usage.code_signing);
                    assert!(usage.other.is_empty());
                    false
                }
                ParsedExtension::BasicConstraints(constraints) => {
                    assert!(!constraints.ca && constraints.path_len_constraint.is_none());
                    true
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    assert_eq!(names.general_names.len(), 1);
                    match &names.general_names[0] {
                        GeneralName::DNSName(name) => assert_eq!(*name, asked),
                        GeneralName::IPAddress(bytes) => match asked.parse().unwrap() {
                            std::net::IpAddr::V4(v4) => assert_eq!(*bytes, v4.octets()),
                            std::net::IpAddr::V6(v6) => assert_eq!(*bytes, v6.octets()),
                        },
                        other => panic!("{other:?}"),
                    }
                    // RFC 5280 section 4.2.1.6.
                    true
                }
                ParsedExtension::SubjectKeyIdentifier(id) => {
                    assert_eq!(id.0.len(), 20);
                    false
                }
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    let ca = chain.signing().der();
                    let (_, ca) = X509Certificate::from_der(ca).unwrap();
                    let own =
                        ca.iter_extensions()
                            .find_map(|found| match found.parsed_extension() {
                                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                                _ => None,
                            });
                    assert_eq!(id.key_identifier.as_ref().map(|id| id.0.to_vec()), own);
                    assert!(id.authority_cert_issuer.is_none());
                    false
                }
                other => panic!("{other:?} does not belong there"),
            };
            assert_eq!(extension.critical, critical, "{:?}", extension.oid);
        }
        assert_eq!(seen.len(), 6);
    }
}

#[test]
fn e2_serials_are_unique_and_the_key_is_one() {
    let clock = Turned::new(1_795_000_000);
    let minter = minter(&clock, &MinterOptions::default());
    let request = request("a.example", Origin::Gateway);
    let leaves: Vec<_> = (0..200).map(|_| minter.mint(&request).unwrap()).collect();
    let serials: HashSet<_> = leaves.iter().map(|leaf| &leaf.serial).collect();
    assert_eq!(serials.len(), leaves.len());
    let key = &leaves[0].certified.key;
    assert!(
        leaves
            .iter()
            .all(|leaf| Arc::ptr_eq(key, &leaf.certified.key))
    );
    leaves[0].certified.keys_match().unwrap();
}

#[test]
fn e3_an_authority_says_what_it_must() {
    let now = 1_795_000_000;
    for (key, permitted) in [
        (KeyKind::P256, vec![]),
        (KeyKind::P384, vec!["corp.example"]),
    ] {
        let new = NewAuthority {
            key,
            permitted: permitted.iter().map(ToString::to_string).collect(),
            ..NewAuthority::default()
        };
        let place = Place::with(&new, now);
        let chain = place.files.certificates().unwrap().current;
        let (_, parsed) = X509Certificate::from_der(chain.signing().der()).unwrap();
        assert_eq!(parsed.version(), X509Version::V3);
        let basic = parsed.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca);
        assert_eq!(basic.value.path_len_constraint, Some(0));
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.flags, 1 << 5, "keyCertSign alone");
        let id = parsed.iter_extensions().any(|extension| {
            matches!(
                extension.parsed_extension(),
                ParsedExtension::SubjectKeyIdentifier(_)
            )
        });
        assert!(id && parsed.extended_key_usage().unwrap().is_none());
        let constraints = parsed.name_constraints().unwrap();
        assert_eq!(
            constraints.as_ref().is_some_and(|found| found.critical),
            !permitted.is_empty()
        );
        assert!(parsed.raw_serial()[0] & 0x80 == 0);
        assert_eq!(chain.not_before(), now - DAY);
        assert_eq!(chain.not_after(), now + 3652 * DAY);
        assert!(chain.signing().subject.starts_with("CN=sluice CA "));
        assert_eq!(chain.signing().key, key);
    }
}

/// Writes a leaf with what is sent behind it.
fn write_chain(place: &Place, certified: &CertifiedKey) -> (String, String) {
    let mut names = Vec::new();
    for (name, certificates) in [
        ("leaf", &certified.cert[..1]),
        ("sent", &certified.cert[1..]),
    ] {
        let mut text = String::new();
        for (number, der) in certificates.iter().enumerate() {
            let path = place.path(&format!("{name}{number}.der"));
            fs::write(&path, der).unwrap();
            let path = path.display().to_string();
            let (good, pem) = tool("openssl", &["x509", "-inform", "der", "-in", &path]);
            assert!(good, "{pem}");
            text.push_str(&pem);
        }
        let path = place.path(&format!("{name}.pem"));
        fs::write(&path, text).unwrap();
        names.push(path.display().to_string());
    }
    (names[0].clone(), names[1].clone())
}

fn judged_by_others(place: &Place, anchor: &str, certified: &CertifiedKey, host: &str) {
    let (leaf, sent) = write_chain(place, certified);
    let mut arguments = vec![
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        anchor,
    ];
    if certified.cert.len() > 1 {
        arguments.extend(["-untrusted", &sent]);
    }
    let by = if host.parse::<std::net::IpAddr>().is_ok() {
        ["-verify_ip", host]
    } else {
        ["-verify_hostname", host]
    };
    arguments.extend(by);
    arguments.push(&leaf);
    let (good, said) = tool("openssl", &arguments);
    assert!(good && said.contains(": OK"), "openssl: {said}");

    // One file: the leaf, then what is behind it.
    let whole = place.path("whole.pem");
    let text = [fs::read(&leaf).unwrap(), fs::read(&sent).unwrap()].concat();
    fs::write(&whole, text).unwrap();
    let load = format!("--load-ca-certificate={anchor}");
    let infile = format!("--infile={}", whole.display());
    let host = format!("--verify-hostname={host}");
    let purpose = "--verify-purpose=1.3.6.1.5.5.7.3.1";
    let (good, said) = tool("certtool", &["--verify", &load, &infile, &host, purpose]);
    assert!(
        good && said.contains("Chain verification output: Verified"),
        "certtool: {said}"
    );
}

#[test]
fn e2_tools_of_others_take_a_leaf() {
    let clock = Turned::new(real_now());
    let now = clock.unix();
    for key in [KeyKind::P256, KeyKind::P384] {
        let new = NewAuthority {
            key,
            ..NewAuthority::default()
        };
        let place = Place::with(&new, now);
        let minter =
            Minter::new(place.load(now), &MinterOptions::default(), clock.clone()).unwrap();
        let anchor = place.files.certificate.display().to_string();
        for host in ["www.example.com", "192.0.2.1"] {
            let leaf = ordinary(&minter, host, now).unwrap();
            assert_eq!(leaf.certified.cert.len(), 1, "the root is not sent");
            judged_by_others(&place, &anchor, &leaf.certified, host);
        }
    }
}

#[test]
fn e2_tools_of_others_take_a_leaf_under_a_constrained_authority() {
    let clock = Turned::new(real_now());
    let now = clock.unix();
    let new = NewAuthority {
        permitted: vec!["corp.example".into()],
        excluded: vec!["bank.corp.example".into()],
        ..NewAuthority::default()
    };
    let place = Place::with(&new, now);
    let minter = Minter::new(place.load(now), &MinterOptions::default(), clock).unwrap();
    let leaf = ordinary(&minter, "www.corp.example", now).unwrap();
    let anchor = place.files.certificate.display().to_string();
    judged_by_others(&place, &anchor, &leaf.certified, "www.corp.example");
}

#[test]
fn e2_tools_of_others_take_a_leaf_under_an_imported_intermediate() {
    let clock = Turned::new(real_now());
    let now = clock.unix();
    let company = Company::new(|_| {}, |_| {});
    let place = Place::empty();
    let pem = format!("{}{}", company.intermediate, company.root);
    let files = place.put("company", &pem, &company.key);
    let authorities = files.load(None, now).unwrap();
    let minter = Minter::new(authorities, &MinterOptions::default(), clock).unwrap();
    let leaf = ordinary(&minter, "www.example.com", now).unwrap();
    assert_eq!(leaf.certified.cert.len(), 2, "leaf and intermediate");
    let anchor = place.path("root.pem");
    fs::write(&anchor, &company.root).unwrap();
    let anchor = anchor.display().to_string();
    judged_by_others(&place, &anchor, &leaf.certified, "www.example.com");
}

#[test]
fn e2_tools_of_others_take_a_leaf_whatever_the_subject_of_the_authority() {
    let clock = Turned::new(real_now() + 60);
    let now = clock.unix();
    let place = Place::empty();
    for (name, subject, key) in [
        (
            "directory",
            "/DC=example/DC=corp/OU=a/OU=b/CN=Gateway CA",
            "ec",
        ),
        ("several", "/O=Company/CN=Gateway CA+OU=Network", "rsa:2048"),
    ] {
        let files = place.put(name, "", "");
        let certificate = files.certificate.display().to_string();
        let out = files.key.display().to_string();
        let mut arguments = vec!["req", "-x509", "-nodes", "-days", "30", "-newkey", key];
        if key == "ec" {
            arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-384"]);
        }
        arguments.extend(["-subj", subject, "-keyout", &out, "-out", &certificate]);
        arguments.extend(["-addext", "keyUsage=critical,keyCertSign"]);
        let (good, said) = tool("openssl", &arguments);
        assert!(good, "{said}");
        let authorities = files.load(None, now).unwrap();
        let minter = Minter::new(authorities, &MinterOptions::default(), clock.clone()).unwrap();
        let leaf = ordinary(&minter, "www.example.com", now).unwrap();
        judged_by_others(&place, &certificate, &leaf.certified, "www.example.com");
    }
}

#[test]
fn the_same_name_in_other_spellings_is_the_same_leaf() {
    let clock = Turned::new(1_795_000_000);
    let minter = minter(&clock, &MinterOptions::default());
    let leaf = |asked| {
        let accepted = Origin::Accepted(origin(clock.unix(), -1, 9));
        minter.leaf(&request(asked, accepted)).unwrap()
    };
    assert!(Arc::ptr_eq(
        &leaf("WWW.Example.com."),
        &leaf("www.example.com")
    ));
    assert_eq!(minter.counts().minted, 1);
}
