use super::*;

const NEVER: Option<Reason> = Some(Reason::NeverConnect);
const SELF: Option<Reason> = Some(Reason::SelfConnect);
const PRIVATE: Option<Reason> = Some(Reason::PrivateDestination);

fn nets(texts: &[&str]) -> Vec<Net> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn guard(settings: Settings) -> Guard {
    let guard = Guard::new(5143);
    guard.set_own(Own {
        networks: nets(&["203.0.113.0/24", "2001:db8:9::/64", "10.9.0.0/16"]),
        ..Own::of(["192.0.2.1", "10.9.0.1", "2001:db8::1"].map(|text| text.parse().unwrap()))
    });
    guard.set(settings);
    guard
}

#[track_caller]
fn assert_refused(guard: &Guard, reach: Reach, table: &[(&str, Option<Reason>)]) {
    for &(destination, reason) in table {
        let address = destination.parse().unwrap();
        assert_eq!(
            guard.refuses(reach, address),
            reason,
            "{reach:?} {destination}"
        );
    }
}

/// Closed on every way, in every form that leads there.
const CLOSED: &[(&str, Option<Reason>)] = &[
    ("198.51.100.7:5143", SELF),
    ("[2001:db8::7]:5143", SELF),
    ("192.0.2.1:443", SELF),
    ("10.9.0.1:443", SELF),
    ("[2001:db8::1]:443", SELF),
    ("[::ffff:192.0.2.1]:443", SELF),
    ("[64:ff9b::192.0.2.1]:443", SELF),
    ("[2002:c000:201::1]:443", SELF),
    ("127.0.0.1:443", NEVER),
    ("127.255.255.254:443", NEVER),
    ("[::ffff:127.0.0.1]:443", NEVER),
    ("[::127.0.0.1]:443", NEVER),
    ("[::ffff:0:127.0.0.1]:443", NEVER),
    ("[64:ff9b::a9fe:a9fe]:443", NEVER),
    ("[64:ff9b:1::a9fe:a9fe]:443", NEVER),
    ("[64:ff9b:1:a9fe:a9:fe00::]:443", NEVER),
    ("[2002:7f00:1::]:443", NEVER),
    // Teredo: by its server, and by its client.
    ("[2001:0:7f00:1::3a39:9bf8]:443", NEVER),
    ("[2001:0:c633:6407::5601:5601]:443", NEVER),
    ("[2001:db8:1::5efe:7f00:1]:443", NEVER),
    ("[2001:db8:1::200:5efe:a9fe:a9fe]:443", NEVER),
    ("169.254.169.254:80", NEVER),
    ("169.254.170.2:80", NEVER),
    ("100.100.100.200:80", NEVER),
    ("168.63.129.16:80", NEVER),
    ("192.0.0.192:80", NEVER),
    ("[fd00:ec2::254]:80", NEVER),
    ("[fd20:ce::254]:80", NEVER),
    ("[fe80::1]:443", NEVER),
    ("[fe80::a9fe:a9fe]:80", NEVER),
    ("[::1]:443", NEVER),
    ("[::]:443", NEVER),
    ("0.0.0.0:443", NEVER),
    ("0.1.2.3:443", NEVER),
    ("224.0.0.1:443", NEVER),
    ("239.255.255.250:443", NEVER),
    ("[ff02::1]:443", NEVER),
    ("255.255.255.255:443", NEVER),
    ("198.51.100.7:0", NEVER),
];

const OPEN: &[(&str, Option<Reason>)] = &[
    ("198.51.100.7:443", None),
    ("100.63.255.255:443", None),
    ("100.128.0.1:443", None),
    ("172.15.255.255:443", None),
    ("172.32.0.1:443", None),
    ("192.0.1.1:443", None),
    ("198.17.255.255:443", None),
    ("198.20.0.1:443", None),
    ("[2001:db8::7]:443", None),
    ("[2001:db8:9:1::7]:443", None),
    ("[64:ff9b::c633:6407]:443", None),
    ("[2002:c633:6407::1]:443", None),
    ("[2001:0:c633:6407::39cc:9bf8]:443", None),
    ("[2001:db8:1::5efe:c633:6407]:443", None),
    ("[::ffff:198.51.100.7]:443", None),
];

/// Closed to those who ask; open to those whose own packets led there.
const ASKED: &[(&str, Option<Reason>)] = &[
    ("10.1.2.3:443", PRIVATE),
    ("172.16.0.1:443", PRIVATE),
    ("172.31.255.255:443", PRIVATE),
    ("192.168.1.1:443", PRIVATE),
    ("100.64.0.1:443", PRIVATE),
    ("198.18.0.1:443", PRIVATE),
    ("192.0.0.8:443", PRIVATE),
    ("240.0.0.1:443", PRIVATE),
    ("203.0.113.9:443", PRIVATE),
    ("[2001:db8:9::9]:443", PRIVATE),
    ("[fc00::1]:443", PRIVATE),
    ("[fd12:3456::1]:443", PRIVATE),
    ("[fec0::1]:443", PRIVATE),
    ("[::ffff:10.1.2.3]:443", PRIVATE),
    ("[::10.1.2.3]:443", PRIVATE),
    ("[64:ff9b::10.1.2.3]:443", PRIVATE),
    ("[64:ff9b:1::c633:6407]:443", PRIVATE),
    ("[2002:a01:203::1]:443", PRIVATE),
    ("[2001:0:a01:203::39cc:9bf8]:443", PRIVATE),
    ("[2001:0:c633:6407::f5fe:fdfc]:443", PRIVATE),
    ("[2001:db8:1::5efe:a01:203]:443", PRIVATE),
    ("[100::1]:443", PRIVATE),
];

#[test]
fn a16_the_gateway_is_no_origin() {
    let guard = guard(Settings::default());
    for reach in [Reach::Steered, Reach::Asked] {
        assert_refused(&guard, reach, CLOSED);
        assert_refused(&guard, reach, OPEN);
    }
}

#[test]
fn c8_who_asks_is_not_led_into_private_networks() {
    let guard = guard(Settings::default());
    assert_refused(&guard, Reach::Asked, ASKED);
    let steered: Vec<_> = ASKED.iter().map(|&(address, _)| (address, None)).collect();
    assert_refused(&guard, Reach::Steered, &steered);
}

#[test]
fn c8_what_is_allowed_is_open_and_nothing_beside_it() {
    let guard = guard(Settings {
        allow: nets(&[
            "10.0.0.0/8",
            "fd12::/16",
            "203.0.113.9",
            "127.0.0.1",
            "2001:db8::1",
        ]),
        ..Settings::default()
    });
    assert_refused(
        &guard,
        Reach::Asked,
        &[
            ("10.1.2.3:443", None),
            ("[64:ff9b::10.1.2.3]:443", None),
            ("[fd12:3456::1]:443", None),
            ("203.0.113.9:443", None),
            ("203.0.113.10:443", PRIVATE),
            ("192.168.1.1:443", PRIVATE),
            ("[fd13::1]:443", PRIVATE),
            // A network opens neither the gateway's own address in it nor its metadata address.
            ("10.9.0.1:443", SELF),
            ("10.9.0.2:443", None),
            ("[2001:db8::1]:443", None),
            ("127.0.0.1:443", None),
            ("127.0.0.2:443", NEVER),
            ("[::1]:443", NEVER),
            // The listener stays closed on them.
            ("127.0.0.1:5143", SELF),
            ("[2001:db8::1]:5143", SELF),
        ],
    );
    assert_refused(
        &guard,
        Reach::Steered,
        &[("127.0.0.1:443", NEVER), ("[2001:db8::1]:443", SELF)],
    );
}

#[test]
fn a16_an_address_that_only_leads_to_the_gateway_is_its_own() {
    let guard = guard(Settings {
        own: vec!["198.51.100.7".parse().unwrap()],
        ..Settings::default()
    });
    for destination in ["198.51.100.7:443", "[64:ff9b::c633:6407]:443"] {
        for reach in [Reach::Steered, Reach::Asked] {
            let refused = guard.refuses(reach, destination.parse().unwrap());
            assert_eq!(refused, SELF, "{destination}");
        }
    }
}

#[test]
fn c8_configured_translation_leads_where_it_says() {
    let guard = guard(Settings {
        nat64: nets(&["64:ff9b:1::/96", "2001:db8:64::/48"]),
        ..Settings::default()
    });
    assert_refused(
        &guard,
        Reach::Asked,
        &[
            ("[64:ff9b:1::c633:6407]:443", None),
            ("[64:ff9b:1::10.1.2.3]:443", PRIVATE),
            ("[64:ff9b:1::127.0.0.1]:443", NEVER),
            ("[64:ff9b:1::192.0.2.1]:443", SELF),
            // Under a prefix that nobody configured.
            ("[64:ff9b:1:1::c633:6407]:443", PRIVATE),
            // 198.51.100.7 and 10.1.2.3 behind a prefix of 48 bits.
            ("[2001:db8:64:c633:64:700::]:443", None),
            ("[2001:db8:64:a01:2:300::]:443", PRIVATE),
        ],
    );
}

#[test]
fn entries_that_open_nothing_are_mistakes() {
    for (text, is_mistake) in [
        ("10.0.0.0/8", false),
        ("203.0.113.0/24", false),
        ("127.0.0.1", false),
        ("169.254.169.254", false),
        ("fd00::/8", false),
        ("0.0.0.0/0", true),
        ("::/0", true),
        ("127.0.0.0/8", true),
        ("169.254.0.0/16", true),
        ("fe80::/10", true),
        ("224.0.0.0/4", true),
        ("ff02::1", true),
        ("255.255.255.255", true),
    ] {
        assert_eq!(
            mistake(text.parse().unwrap()).is_some(),
            is_mistake,
            "{text}"
        );
    }
}
