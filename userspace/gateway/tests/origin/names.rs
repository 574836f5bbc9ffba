//! Certificates for other names, and issuers that may not name so.

use crate::pki::*;
use crate::served::{Served, World, faults_as, meet_as};

#[tokio::test]
async fn d3_for_another_name() {
    let world = World::new();
    for (names, fits) in [
        (vec![dns(b"ORIGIN.example")], true),
        (vec![dns(b"*.example")], false),
        (vec![dns(b"other.example"), dns(b"origin.example")], true),
        (vec![dns(b"other.example")], false),
        (vec![dns(b"example")], false),
        (vec![dns(b"sub.origin.example")], false),
        (vec![dns(b"*.origin.example")], false),
        (vec![dns(b"*.com")], false),
        (vec![dns(b"or*.example")], false),
        (vec![dns(b"*")], false),
        (vec![dns(b"*.*")], false),
        (vec![dns(b"origin.example\0.evil.example")], false),
        (vec![dns(b"origin.example\0")], false),
        (vec![dns(b"origin.example\n")], false),
        (vec![dns(b"origin\x01.example")], false),
        (vec![dns(b"")], false),
        // A name in the form of an e-mail address or a URI is none.
        (vec![tlv(0x81, b"origin.example")], false),
        (vec![tlv(0x86, b"https://origin.example/")], false),
    ] {
        let expected: &[&str] = if fits { &[] } else { &["name-mismatch"] };
        let found = world.faults(|draft| draft.names(&names)).await;
        assert_eq!(found, expected, "{names:x?}");
    }
}

#[tokio::test]
async fn d3_wildcards_stand_for_one_label() {
    let world = World::new();
    let leaf = |pattern: &[u8]| {
        let draft = world.issuer.leaf(&world.key).names(&[dns(pattern)]);
        draft.sign(&world.issuer.key)
    };
    for (pattern, name, fits) in [
        (&b"*.news.example"[..], "a.news.example", true),
        (b"*.news.example", "news.example", false),
        (b"*.news.example", "a.b.news.example", false),
        (b"f*.news.example", "foo.news.example", false),
        (b"*.com", "news.com", false),
    ] {
        let leaf = leaf(pattern);
        let chain = [&leaf, &world.issuer.certificate];
        let found = faults_as(&world.origins, &chain, &world.key, Some(name), now()).await;
        let expected: &[&str] = if fits { &[] } else { &["name-mismatch"] };
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn d3_a_common_name_names_nobody() {
    let world = World::new();
    let found = world.faults(|mut draft| {
        draft.subject = common_name(NAME);
        draft.extensions.remove(0);
        draft
    });
    assert_eq!(found.await, ["name-mismatch"]);
}

#[tokio::test]
async fn d3_an_address_is_compared_as_bytes() {
    let world = World::new();
    for (names, fits) in [
        (vec![tlv(0x87, &[127, 0, 0, 1])], true),
        (vec![tlv(0x87, &[127, 0, 0, 2])], false),
        (vec![tlv(0x87, &[127, 0, 0, 1, 255, 0, 0, 0])], false),
        (vec![dns(b"127.0.0.1")], false),
        (vec![dns(NAME.as_bytes())], false),
    ] {
        let leaf = world.issuer.leaf(&world.key).names(&names);
        let leaf = leaf.sign(&world.issuer.key);
        let chain = [&leaf, &world.issuer.certificate];
        let found = faults_as(&world.origins, &chain, &world.key, None, now()).await;
        let expected: &[&str] = if fits { &[] } else { &["name-mismatch"] };
        assert_eq!(found, expected, "{names:x?}");
    }
}

#[tokio::test]
async fn d7_outside_of_what_its_issuer_may_name() {
    let world = World::new();
    let constrained = |tag: u8, base: Vec<u8>| {
        let trees = tlv(tag, &seq(&[base]));
        let constraints = extension(EXT_NAME_CONSTRAINTS, true, &seq(&[trees]));
        world
            .root
            .below("constrained", |draft| draft.extensions.push(constraints))
    };
    const PERMITTED: u8 = 0xa0;
    const EXCLUDED: u8 = 0xa1;
    for (tag, base, names, fits) in [
        (
            PERMITTED,
            dns(b"example"),
            vec![dns(b"origin.example")],
            true,
        ),
        (PERMITTED, dns(b"org"), vec![dns(b"origin.example")], false),
        (
            EXCLUDED,
            dns(b"example"),
            vec![dns(b"origin.example")],
            false,
        ),
        (EXCLUDED, dns(b"org"), vec![dns(b"origin.example")], true),
        // Constraints on URIs are not ignored (RUSTSEC-2026-0098).
        (
            EXCLUDED,
            tlv(0x86, b"example"),
            vec![dns(b"origin.example"), tlv(0x86, b"https://a.example/")],
            false,
        ),
    ] {
        let issuer = constrained(tag, base.clone());
        let leaf = issuer.leaf(&world.key).names(&names).sign(&issuer.key);
        let found = world.faults_of(&[&leaf, &issuer.certificate]).await;
        let expected: &[&str] = if fits {
            &[]
        } else {
            &["outside-name-constraints"]
        };
        assert_eq!(found, expected, "{tag:x} {base:x?} {names:x?}");
    }
}

#[tokio::test]
async fn d7_a_wildcard_reaches_beyond_what_is_permitted() {
    // RUSTSEC-2026-0099.
    let world = World::new();
    let trees = tlv(0xa0, &seq(&[dns(b"a.news.example")]));
    let constraints = extension(EXT_NAME_CONSTRAINTS, true, &seq(&[trees]));
    let issuer = world
        .root
        .below("constrained", |draft| draft.extensions.push(constraints));
    for (names, expected) in [
        (vec![dns(b"a.news.example")], &[][..]),
        (
            vec![dns(b"a.news.example"), dns(b"*.news.example")],
            &["outside-name-constraints"],
        ),
        (vec![dns(b"*.news.example")], &["outside-name-constraints"]),
    ] {
        let leaf = issuer.leaf(&world.key).names(&names).sign(&issuer.key);
        let chain = [&leaf, &issuer.certificate];
        let name = Some("a.news.example");
        let found = faults_as(&world.origins, &chain, &world.key, name, now()).await;
        assert_eq!(found, expected, "{names:x?}");
    }
}

#[tokio::test]
async fn names_cannot_break_a_line() {
    let world = World::new();
    let draft = world.issuer.leaf(&world.key);
    let names = draft.names(&[dns(b"a\n.example"), dns(NAME.as_bytes())]);
    let leaf = Draft {
        subject: common_name("two\nlines"),
        ..names
    };
    let leaf = leaf.sign(&world.issuer.key);
    let served = Served::new(&[&leaf, &world.issuer.certificate], &world.key);
    let report = meet_as(&world.origins, served, Some(NAME), now()).await;
    let told = report.unwrap().certificate.leaf.unwrap();
    assert_eq!(told.subject, "CN=two\\nlines");
    assert!(!told.names.concat().contains(char::is_control));
}
