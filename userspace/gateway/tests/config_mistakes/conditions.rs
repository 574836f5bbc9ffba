//! Mistakes in the conditions of rules.

use super::assert_mistake;

const NAMES: &str = "[[group]]\nname = \"staff\"\n\
                     [[list]]\nname = \"banks\"\nkind = \"domains\"\n\
                     [[list]]\nname = \"nets\"\nkind = \"addresses\"\n\
                     [[list]]\nname = \"pages\"\nkind = \"urls\"\n\
                     [[schedule]]\nname = \"office hours\"\n";

/// A mistake in a condition of `when`, at its column.
#[track_caller]
fn assert_condition(condition: &str, expected: &str) {
    let line = 3 + NAMES.lines().count() + 2;
    assert_mistake(
        &format!("{NAMES}[[rule]]\nname = \"a\"\nwhen = {{ {condition} }}\naction = \"allow\"\n"),
        &format!("{line}:{expected}"),
    );
}

/// Mistakes in values: the key, the value as it is written, and what is said of it.
#[track_caller]
fn assert_value(key: &str, value: &str, message: &str) {
    let column = key.len() + 13;
    let value = value.trim_matches('"');
    assert_condition(
        &format!("{key} = \"{value}\""),
        &format!("{column}: `{key}` in `when`: \"{value}\": {message}"),
    );
}

#[test]
fn names_that_nothing_bears_are_refused() {
    let missing = |what: &str, name: &str| {
        format!("there is no {what} \"{name}\": write a [[{what}]] of that name")
    };
    let meant = |what: &str, name: &str, meant: &str| {
        format!("there is no {what} \"{name}\": did you mean \"{meant}\"?")
    };
    assert_value("group", "boss", &missing("group", "boss"));
    assert_value("group", "staf", &meant("group", "staf", "staff"));
    assert_value("schedule", "nights", &missing("schedule", "nights"));
    assert_value(
        "schedule",
        "office hour",
        &meant("schedule", "office hour", "office hours"),
    );
    for key in [
        "client",
        "destination",
        "host",
        "connect-host",
        "url",
        "url-host",
    ] {
        assert_value(key, "list:shops", &missing("list", "shops"));
        assert_value(key, "list:bank", &meant("list", "bank", "banks"));
    }
}

#[test]
fn lists_of_another_kind_are_refused() {
    let wrong = |kind: &str, wanted: &str| {
        format!("a list of kind \"{kind}\" does not fit here: expected one of kind {wanted}")
    };
    assert_value("client", "list:banks", &wrong("domains", "\"addresses\""));
    assert_value("destination", "list:pages", &wrong("urls", "\"addresses\""));
    assert_value("host", "list:nets", &wrong("addresses", "\"domains\""));
    assert_value("url-host", "list:pages", &wrong("urls", "\"domains\""));
    assert_value(
        "url",
        "list:nets",
        &wrong("addresses", "\"urls\" or \"domains\""),
    );
    for key in ["path", "user-agent", "issuer", "content-type"] {
        assert_value(
            key,
            "list:banks",
            "there are no lists of such texts: write them here, or one \"re:...\" for all",
        );
    }
}

#[test]
fn values_that_are_none_are_refused() {
    let tls = "expected one of \"negotiated\", \"not-negotiated\", \
               \"client-certificate-required\", \"client-rejected-ca\", \
               \"inconsistent-server-hello\", \"malformed-hello\", \"no-common-cipher\", \
               \"no-common-version\", \"not-tls\", \"origin-closed\", \
               \"origin-handshake-failed\", \"oversize\", \"server-first\", \"silent\", \
               \"sslv2-hello\", \"timeout\", \"truncated\", \"zero-length-record\"";
    let versions = "expected one of \"ssl3\", \"1.0\", \"1.1\", \"1.2\", \"1.3\"";
    let certificate = "expected one of \"expired\", \"name-mismatch\", \"not-yet-valid\", \
                       \"revocation-unknown\", \"revoked\", \"self-signed\", \"unavailable\", \
                       \"unknown-critical-extension\", \"untrusted\", \"valid\", \"weak-key\", \
                       \"weak-signature\", \"invalid\"";
    let sizes = "expected sizes such as \">10MiB\", \">=1KiB\", \"<512B\", \"<=1GiB\" or \
                 \"1KiB-10MiB\"";
    let empty = "every text begins so: write what it begins with, or use `not` and { absent = \
                 true }";
    for (key, value, message) in [
        (
            "client",
            "alice",
            "expected an address or a CIDR such as \"10.20.0.0/16\" or \"2001:db8::/32\"".into(),
        ),
        (
            "host",
            "192.0.2.1",
            "an address is no server name: use `destination`, or `host-is-ip = true`".into(),
        ),
        (
            "port",
            "9-3",
            "the range ends before it begins: write \"3-9\"".into(),
        ),
        (
            "connect-port",
            "http",
            "expected a port from 1 to 65535, or a range such as \"1024-65535\"".into(),
        ),
        ("tls", "sslv2", tls.to_owned()),
        ("tls", "silence", format!("{tls}: did you mean \"silent\"?")),
        (
            "tls-version",
            "2.0",
            format!("{versions}: did you mean \"1.0\"?"),
        ),
        ("tls-version-chosen", "TLS 1.2", versions.into()),
        (
            "certificate",
            "expird",
            format!("{certificate}: did you mean \"expired\"?"),
        ),
        (
            "listener",
            "office",
            "there is no listener \"office\": write a [[proxy]] of that name, \"proxy\" or \
             \"transparent\""
                .into(),
        ),
        (
            "listener",
            "proxi",
            "there is no listener \"proxi\": did you mean \"proxy\"?".into(),
        ),
        (
            "ja4",
            "T13",
            "expected a JA4 fingerprint such as \"t13d1516h2_8daaf6152771_e5627efa2ab1\", or the \
             beginning of one such as \"t13d*\""
                .into(),
        ),
        (
            "application",
            "bittorent",
            "no application that is known: did you mean \"bittorrent\"?".into(),
        ),
        (
            "application",
            "Gopher",
            "expected one of \"bittorrent\", \"http\", \"rdp\", \"skype\", \"smtp\", \"ssh\", \
             \"xmpp\""
                .into(),
        ),
        (
            "inner",
            "websockets",
            "no application that is known: did you mean \"websocket\"?".into(),
        ),
        (
            "inner",
            "HTTP",
            "expected one of \"bittorrent\", \"http\", \"rdp\", \"skype\", \"smtp\", \"ssh\", \
             \"websocket\", \"xmpp\": did you mean \"http\"?"
                .into(),
        ),
        (
            "inner",
            "h2",
            "no version is told apart: write \"http\"".into(),
        ),
        ("inner", "ws", "did you mean \"websocket\"?".into()),
        (
            "inner",
            "none",
            "for what is not recognised write { absent = true }".into(),
        ),
        ("user", " ", "expected one line of at most 200 bytes".into()),
        ("user-agent", "", empty.into()),
        ("content-type", "*", empty.into()),
        (
            "user-agent",
            "re:a(b",
            "not a regular expression: unclosed group".into(),
        ),
        (
            "issuer",
            "re:(a{100}){100}{100}",
            "the regular expression needs more than 1024 KiB compiled: bound its repetitions"
                .into(),
        ),
        (
            "path",
            "upload",
            "a path begins with a slash: write \"/upload\", or \"re:...\" for what stands anywhere"
                .into(),
        ),
        (
            "url",
            "shop.example/cart",
            "expected the beginning of a URL such as \"https://shop.example/cart\", \"list:NAME\" \
             or \"re:...\""
                .into(),
        ),
        (
            "url",
            "https://shop.example",
            "every host whose name begins so is meant: write \"https://shop.example/\" for this \
             one alone"
                .into(),
        ),
        (
            "url",
            "https://*.example/",
            "a URL has no `*` in its host: use `url-host`, \"list:NAME\" or \"re:...\"".into(),
        ),
        (
            "method",
            "GET /",
            "expected the method of a request such as \"GET\" or \"POST\"".into(),
        ),
        ("size", "10MiB", sizes.into()),
        ("size", ">10MB", sizes.into()),
        ("size", "<0B", "no size is so: write another bound".into()),
        (
            "size",
            "10MiB-1KiB",
            "the range ends before it begins: write \"1KiB-10MiB\"".into(),
        ),
    ] {
        assert_value(key, value, &message);
    }
}

#[test]
fn values_of_a_wrong_form_are_refused() {
    for (condition, expected) in [
        (
            "host = []",
            "17: `host` in `when`: an empty list never holds: write a value, or take the \
             condition out",
        ),
        (
            "ech = \"yes\"",
            "16: `ech` in `when`: expected true or false, found a text",
        ),
        (
            "client-certificate = \"requested\"",
            "31: `client-certificate` in `when`: expected true or false, found a text",
        ),
        (
            "client = { absent = true }",
            "19: `client` in `when`: expected a text in quotes, found a table",
        ),
        (
            "host = { absent = false }",
            "17: `host` in `when`: expected { absent = true }; for the contrary use `not`",
        ),
        (
            "inner = { absent = false }",
            "18: `inner` in `when`: expected { absent = true }; for the contrary use `not`",
        ),
        (
            "iner = \"http\"",
            "10: unknown key `iner` in `when`: did you mean `inner`?",
        ),
        (
            "host = { abscent = true }",
            "19: unknown key `abscent` in the condition: did you mean `absent`?",
        ),
        (
            "host = { }",
            "17: `host` in `when`: expected a text, a list of texts or { absent = true }",
        ),
        (
            "tls = { reasons = [] }",
            "18: unknown key `reasons` in `tls`: did you mean `reason`?",
        ),
        (
            "tls = { proof = \"probe\" }",
            "16: `tls` in `when`: expected reasons, as in { reason = [\"not-negotiated\"], proof \
             = \"probe\" }",
        ),
        (
            "tls = { reason = \"silent\", proof = \"prob\" }",
            "45: `proof` in `tls`: \"prob\": expected \"probe\": did you mean \"probe\"?",
        ),
        (
            "tls = { reason = [] }",
            "27: `reason` in `tls`: an empty list never holds: write a value, or take the \
             condition out",
        ),
        (
            "header = \"a\"",
            "19: `header` in `when`: expected a table, found a text",
        ),
        (
            "header = { }",
            "19: `header` in `when`: expected the name of a field, as in { \"x-name\" = \
             \"value\" }",
        ),
        (
            "header = { \"a b\" = \"c\" }",
            "29: `a b` in `header`: \"a b\": expected the name of a header field such as \
             \"x-requested-with\"",
        ),
        (
            "header = { a = \"re:(\" }",
            "25: `a` in `header`: \"re:(\": not a regular expression: unclosed group",
        ),
        (
            "url = { pat = \"/a\" }",
            "18: unknown key `pat` in `url`: did you mean `path`?",
        ),
        (
            "url = { }",
            "16: `url` in `when`: expected `path`, `host` or `host-is-ip`",
        ),
        (
            "url.path = \"a\"",
            "21: `path` in `url`: \"a\": a path begins with a slash: write \"/a\", or \"re:...\" \
             for what stands anywhere",
        ),
        (
            "not = { }",
            "16: `not` in `when`: expected at least one condition",
        ),
        (
            "not = { hots = \"a\" }",
            "18: unknown key `hots` in `not`: did you mean `host`?",
        ),
    ] {
        assert_condition(condition, expected);
    }
}
