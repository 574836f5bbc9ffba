//! Conditions, actions, rules: how they are written, and how they are shown.

use sluice_gateway::config::show;

use super::parse;

/// What every condition is written as, and how it is shown.
const CONDITIONS: &[(&str, &str)] = &[
    ("client = \"10.0.0.0/8\"", "client = 10.0.0.0/8"),
    (
        "client = [\"list:nets\", \"2001:db8::1\"]",
        "client = list:nets | 2001:db8::1",
    ),
    ("destination = \"list:nets\"", "destination = list:nets"),
    ("port = [\"443\", \"8000-9000\"]", "port = 443 | 8000-9000"),
    (
        "listener = [\"transparent\", \"proxy\"]",
        "listener = transparent | proxy",
    ),
    (
        "user = [\"alice\", { absent = true }]",
        "user = \"alice\" | absent",
    ),
    ("group = [\"g\", \"h\"]", "group = \"g\" | \"h\""),
    ("group = { absent = true }", "group = absent"),
    ("schedule = \"nights\"", "schedule = \"nights\""),
    (
        "connect-host = [\"a.example\", { absent = true }]",
        "connect-host = a.example | absent",
    ),
    ("connect-port = \"443\"", "connect-port = 443"),
    (
        "connect-user-agent = [\"curl/\", \"re:^Wget\", { absent = true }]",
        "connect-user-agent = curl/* | re:^Wget | absent",
    ),
    (
        "host = [\"A.example\", \"*.b.example\", \".c.example\", \"list:names\", { absent = true }]",
        "host = a.example | *.b.example | .c.example | list:names | absent",
    ),
    ("host-is-ip = true", "host-is-ip = true"),
    ("host-mismatch = true", "host-mismatch = true"),
    ("tls = \"negotiated\"", "tls = negotiated"),
    ("tls = \"not-negotiated\"", "tls = not-negotiated"),
    (
        "tls = [\"negotiated\", \"sslv2-hello\"]",
        "tls = negotiated | sslv2-hello",
    ),
    (
        "tls = { reason = [\"timeout\", \"origin-closed\"] }",
        "tls = origin-closed | timeout",
    ),
    (
        "tls = { reason = \"not-negotiated\", proof = \"probe\" }",
        "tls = not-negotiated (also by a probe)",
    ),
    (
        "tls = [\"not-negotiated\", \"origin-handshake-failed\"]",
        "tls = not-negotiated | origin-handshake-failed",
    ),
    (
        "tls-version = [\"1.2\", \"ssl3\"]",
        "tls-version = ssl3 | 1.2",
    ),
    ("tls-version-chosen = \"1.3\"", "tls-version-chosen = 1.3"),
    ("alpn = [\"h2\", { absent = true }]", "alpn = h2 | absent"),
    ("ja4 = \"t13d*\"", "ja4 = t13d*"),
    ("ech = false", "ech = false"),
    (
        "application = [\"skype\", { absent = true }]",
        "application = skype | absent",
    ),
    (
        "certificate = [\"valid\", \"expired\"]",
        "certificate = expired | valid",
    ),
    (
        "certificate = \"invalid\"",
        "certificate = expired | name-mismatch | not-yet-valid | revocation-unknown | revoked | \
         self-signed | unknown-critical-extension | untrusted | ... and 2 more",
    ),
    (
        "issuer = [\"CN=Some CA,C=DE\", \"CN=Other*\", \"re:^X\", { absent = true }]",
        "issuer = CN=Some CA,C=DE | CN=Other* | re:^X | absent",
    ),
    ("client-certificate = true", "client-certificate = true"),
    (
        "inner = [\"http\", \"websocket\", \"ssh\", { absent = true }]",
        "inner = http | websocket | ssh | absent",
    ),
    ("inspected = false", "inspected = false"),
    (
        "url = [\"list:names\", \"list:pages\", \"https://a.example/x\", \"re:\\\\.exe$\"]",
        "url = list:names | list:pages | https://a.example/x* | re:\\.exe$",
    ),
    (
        "url.path = \"/upload\", url.host = \"list:names\", url.host-is-ip = false",
        "path = /upload* and url-host = list:names and url-host-is-ip = false",
    ),
    ("url = { path = \"/a\" }", "path = /a*"),
    ("url-host = \"a.example\"", "url-host = a.example"),
    ("url-host-is-ip = true", "url-host-is-ip = true"),
    ("path = [\"/a\", \"re:b\"]", "path = /a* | re:b"),
    ("method = [\"get\", \"POST\"]", "method = GET | POST"),
    (
        "header = { X-Name = \"a\", x-other = [\"re:b\", { absent = true }] }",
        "header x-name = a* and header x-other = re:b | absent",
    ),
    ("user-agent = { absent = true }", "user-agent = absent"),
    ("content-type = \"Image/*\"", "content-type = image/*"),
    (
        "size = [\">10MiB\", \"<1KiB\", \">=1MiB\", \"<=2KiB\", \"1KiB-10MiB\"]",
        "size = >10MiB | <1KiB | >=1MiB | <=2KiB | 1KiB-10MiB",
    ),
    (
        "not = { host = \"a.example\", not = { ech = true } }",
        "not (host = a.example and not (ech = true))",
    ),
    (
        "port = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\", \"10\"]",
        "port = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | ... and 2 more",
    ),
];

/// What conditions refer to.
const NAMES: &str = r#"
[[group]]
name = "g"
members = ["10.0.0.1", "2001:db8::/32", "group:h", "alice"]
[[group]]
name = "h"
members = ["10.0.1.0/24"]
[[list]]
name = "names"
kind = "domains"
entries = ["a.example", "*.b.example", ".c.example"]
[[list]]
name = "nets"
kind = "addresses"
entries = ["192.0.2.0/24"]
[[list]]
name = "pages"
kind = "urls"
entries = ["https://a.example/x"]
[[schedule]]
name = "nights"
days = ["mon-wed", "sat"]
times = ["22:00-06:00", "12:00-13:30"]
dates = ["2026-12-24..2026-12-26", "2027-01-01"]
zone = "Europe/Berlin"
"#;

#[test]
fn every_condition_is_read_and_shown() {
    for (written, shown) in CONDITIONS {
        for key in ["when", "unless"] {
            let config = parse(&format!(
                "{NAMES}[[rule]]\nname = \"a\"\n{key} = {{ {written} }}\naction = \"allow\"\n"
            ));
            let rule = &config.rules.rules[0];
            let conditions = if key == "when" {
                &rule.when
            } else {
                &rule.unless
            };
            let text: Vec<_> = conditions
                .iter()
                .map(|condition| show::condition(&config.rules, condition))
                .collect();
            assert_eq!(text.join(" and "), *shown, "{written}");
        }
    }
}

#[test]
fn what_conditions_refer_to_is_shown() {
    let config = parse(NAMES);
    let shown = show::effective(&config);
    for part in [
        "groups:\n  \"g\": 10.0.0.1, 2001:db8::/32, group:h, \"alice\"\n",
        "lists:\n  \"names\": 3 domains\n  \"nets\": 1 addresses\n  \"pages\": 1 urls\n",
        "schedules:\n  \"nights\": mon-wed | sat, 22:00-06:00 | 12:00-13:30, \
         2026-12-24..2026-12-26 | 2027-01-01, Europe/Berlin\n",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

#[test]
fn every_action_is_read_and_shown() {
    for (written, shown, message) in [
        ("\"allow\"", "allow", None),
        ("\"splice\"", "splice (never decrypt)", None),
        ("\"inspect\"", "inspect (decrypt, and go on)", None),
        ("\"block\"", "block (reset)", None),
        ("\"no-log\"", "no-log (no access record, and go on)", None),
        (
            "{ block = \"page\", message = \"No.\" }",
            "block (page)",
            Some("No."),
        ),
        ("{ block = \"alert\" }", "block (alert)", None),
        (
            "{ warn = \"90m\", message = \"Hm.\" }",
            "warn (once in 90m), and go on",
            Some("Hm."),
        ),
        ("{ tag = \"odd\" }", "tag \"odd\", and go on", None),
    ] {
        let config = parse(&format!(
            "[policy]\nblock = \"reset\"\n[[rule]]\nname = \"a\"\ncomment = \"why\"\n\
             tags = [\"t\", \"u\"]\naction = {written}\n"
        ));
        let rule = &config.policy.rules()[0];
        assert_eq!(show::action(&rule.action), shown);
        assert_eq!(rule.message.as_deref(), message);
        assert_eq!(rule.tags, ["t", "u"]);
    }
}

#[test]
fn rules_and_containers_are_read() {
    let config = parse(
        r#"
        [[rule]]
        name = "all"
        when = { client = "10.0.0.0/8", port = "443" }
        unless = { host = ["a.example", { absent = true }], host-is-ip = true }
        not = { alpn = ["h2", { absent = true }], ech = true }
        action = "block"
        final = false
        tags = ["odd"]
        [[rule]]
        name = "off"
        enabled = false
        action = "allow"
        [[rule]]
        name = "container"
        when = { tls = "negotiated" }
        [[rule.rule]]
        name = "leave"
        when = { port = "8000-9000" }
        action = "skip"
        [[rule.rule]]
        name = "inside"
        when = { certificate = "expired", url.path = "/x" }
        action = { block = "page", message = "No." }
        "#,
    );
    let names: Vec<_> = config
        .policy
        .rules()
        .iter()
        .map(|rule| (rule.name.as_str(), rule.containers.join("/")))
        .collect();
    let inside = "container".to_owned();
    assert_eq!(
        names,
        [
            ("all", String::new()),
            ("leave", inside.clone()),
            ("inside", inside)
        ]
    );
    assert_eq!(config.policy.rules()[2].message.as_deref(), Some("No."));
    let shown = show::effective(&config);
    for part in [
        "1. \"all\": block (alert), unless a later rule decides\n",
        "unless host = a.example | absent or host-is-ip = true\n",
        "when client = 10.0.0.0/8 and port = 443 and not (alpn = h2 | absent and ech = true)\n",
        "tags \"odd\"\n",
        "  container \"container\"\n     when tls = negotiated\n    2. \"leave\"",
        "says \"No.\"\n",
        "stages:\n  hello                  \"all\", \"leave\", \"inside\"\n  server_hello           \
         \"leave\", \"inside\"\n  certificate            \"inside\"\n  request                \
         \"inside\"\n",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let nothing = "stages:\n  hello                  nothing\n";
    assert!(show::effective(&parse("")).contains(nothing));
}

#[test]
fn what_is_reset_by_addresses_alone_is_said_to_be_the_kernel_s() {
    let rule = |number: u8| {
        format!(
            "[[rule]]\nname = \"pair {number}\"\n\
             when = {{ client = [\"10.0.{number}.0/24\"], destination = [\"10.1.{number}.0/24\"] }}\n\
             action = {{ block = \"reset\" }}\n"
        )
    };
    let shown = show::effective(&parse(&rule(1)));
    let packet = "stages:\n  packet                 the kernel refuses what rules reset by \
                  addresses and port alone\n";
    assert!(shown.contains(packet), "{shown}");
    let many: String = (0..70).map(rule).collect();
    let shown = show::effective(&parse(&many));
    let warning = "  - flows that rules reset by addresses and port alone are steered and reset by \
                   the daemon, not by the kernel: it would take 71 classes of client addresses, \
                   and the kernel holds 64\n";
    assert!(shown.contains(warning), "{shown}");
    assert!(!shown.contains(packet));
}
