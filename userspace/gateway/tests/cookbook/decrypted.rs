//! Recipes that need requests or certificates.

use sluice_policy::{CertificateState, Facts, Inner, NotNegotiated, Request, Stage, Tls};

use super::Promise::{Decided, Undecided};
use super::{CLIENT, Recipe, address, answered, as_user, certified, foreign, hello, opened};

#[test]
fn banking_is_never_decrypted() {
    const BANKS: &str = "banking is never decrypted";
    const COUNCIL: &str = "nor is what the works council does";
    let council = address("10.20.6.1");
    let mail = hello(CLIENT, Some("mail.example"));
    let request = |method, url| {
        let mut facts = certified(mail, CertificateState::Valid);
        facts.stage = Stage::Request;
        facts.request = Request {
            method: Some(method),
            url: Some(url),
            ..Request::NONE
        };
        facts
    };
    let recipe = Recipe::load("banking-never-decrypted.toml");
    recipe.promises(&[
        (
            "a bank",
            hello(CLIENT, Some("bank.example")),
            Decided("splice", Some(BANKS)),
        ),
        (
            "a name below a bank's",
            hello(CLIENT, Some("WWW.bank.example.")),
            Decided("splice", Some(BANKS)),
        ),
        (
            "a name that only ends like a bank's",
            hello(CLIENT, Some("notabank.example")),
            Decided("allow", None),
        ),
        (
            "a name below one that is listed alone",
            hello(CLIENT, Some("www.online.creditunion.example")),
            Decided("allow", None),
        ),
        (
            "whatever the works council opens, by address",
            opened(council),
            Decided("splice", Some(COUNCIL)),
        ),
        (
            "webmail of the works council, by user",
            as_user(mail, "alice"),
            Decided("splice", Some(COUNCIL)),
        ),
        (
            "webmail",
            mail,
            Undecided(&["allow-decrypted", "block-page"], Some(Stage::Request)),
        ),
        (
            "a message that is read",
            request("GET", "https://mail.example/inbox"),
            Decided("allow-decrypted", None),
        ),
        (
            "a file that is sent",
            request("POST", "https://mail.example/upload/1"),
            Decided("block-page", Some("no uploads to webmail")),
        ),
    ]);
}

#[test]
fn some_flows_are_inspected() {
    let named = |name| hello(CLIENT, Some(name));
    let asked = |hello: Facts<'static>, method, url| {
        let mut facts = hello;
        facts.stage = Stage::Request;
        facts.request = Request {
            method: Some(method),
            url: Some(url),
            ..Request::NONE
        };
        facts
    };
    let mut pinned = named("a.push.example");
    pinned.tls = Some(Tls::Not(NotNegotiated::ClientRejectedCa));
    let mut refused = named("www.mail.example");
    refused.tls = pinned.tls;
    let mail = certified(named("www.mail.example"), CertificateState::Valid);
    let http = foreign(CLIENT, NotNegotiated::NotTls, Some("http"));
    Recipe::load("inspect.toml").promises(&[
        (
            "a bank",
            named("bank.example"),
            Decided("splice", Some("never decrypted")),
        ),
        (
            "whatever the works council opens",
            opened(address("10.20.6.1")),
            Decided("splice", Some("nor is what the works council does")),
        ),
        (
            "pinned software, that has refused the CA",
            pinned,
            Decided("splice", Some("pinned software")),
        ),
        (
            "the same, that has not",
            named("a.push.example"),
            Decided("allow", None),
        ),
        (
            "who refuses the CA for what is looked into",
            refused,
            Undecided(&["allow", "block-page"], Some(Stage::Request)),
        ),
        ("games", named("games.example"), Decided("warn", None)),
        (
            "mail",
            mail,
            Undecided(&["allow", "block-page"], Some(Stage::Request)),
        ),
        (
            "a message that is read",
            asked(mail, "GET", "https://www.mail.example/inbox"),
            Decided("allow", None),
        ),
        (
            "a file that is sent",
            asked(mail, "POST", "https://www.mail.example/upload/1"),
            Decided("block-page", Some("no uploads")),
        ),
        (
            "cleartext HTTP",
            http,
            Undecided(&["allow", "block-page"], Some(Stage::Request)),
        ),
        (
            "a page in the clear",
            asked(http, "GET", "http://news.example/a.exe.html"),
            Decided("allow", Some("the rest of cleartext HTTP")),
        ),
        (
            "a program in the clear",
            asked(http, "GET", "http://news.example/setup.exe?x=1"),
            Decided("block-page", Some("no downloads of programs in the clear")),
        ),
        ("the rest", named("news.example"), Decided("allow", None)),
    ]);
}

#[test]
fn invalid_certificates() {
    use CertificateState::{Expired, NameMismatch, SelfSigned, Unavailable, Untrusted, Valid};
    const BLOCK: &str = "invalid certificates, except for the group";
    let news = hello(CLIENT, Some("news.example"));
    let exempt = hello(address("2001:db8:6::1"), Some("news.example"));
    let bad = |state| {
        (
            "an invalid certificate",
            certified(news, state),
            Decided("block-page", Some(BLOCK)),
        )
    };
    Recipe::load("invalid-certificates.toml").promises(&[
        (
            "before the certificate is known",
            answered(news, Tls::Negotiated),
            Undecided(&["allow", "block-page"], Some(Stage::Certificate)),
        ),
        (
            "a valid one",
            certified(news, Valid),
            Decided("allow", None),
        ),
        bad(Expired),
        bad(NameMismatch),
        bad(SelfSigned),
        bad(Untrusted),
        (
            "one that is not to be had",
            certified(news, Unavailable),
            Undecided(&["allow", "block-page"], None),
        ),
        ("the group, by address", exempt, Decided("allow", None)),
        (
            "the group, by user",
            as_user(news, "qa"),
            Decided("allow", None),
        ),
        (
            "what is not TLS has no certificate",
            foreign(CLIENT, NotNegotiated::NotTls, None),
            Decided("block-alert", None),
        ),
    ]);
}

#[test]
fn tunnels_inside_tls_are_not_let_through() {
    const TUNNELS: &str = "tunnels inside TLS are not let through";
    let decrypted = |inner| {
        let share = hello(CLIENT, Some("share.example"));
        let mut facts = certified(share, CertificateState::Valid);
        facts.stage = Stage::Request;
        facts.request.inner = Some(inner);
        facts
    };
    let mut upload = decrypted(Inner::Http);
    upload.request.method = Some("PUT");
    Recipe::load("no-tunnels.toml").promises(&[
        (
            "a bank",
            hello(CLIENT, Some("bank.example")),
            Decided("splice", Some("banking is never decrypted")),
        ),
        (
            "anything else that is TLS",
            answered(hello(CLIENT, Some("share.example")), Tls::Negotiated),
            Undecided(
                &["allow", "block-page", "block-reset"],
                Some(Stage::Request),
            ),
        ),
        ("the web", decrypted(Inner::Http), Decided("allow", None)),
        (
            "a socket of the web",
            decrypted(Inner::WebSocket),
            Decided("allow", None),
        ),
        (
            "an upload",
            upload,
            Decided("block-page", Some("no uploads")),
        ),
        (
            "a tunnel that is recognised",
            decrypted(Inner::Application("ssh")),
            Decided("block-reset", Some(TUNNELS)),
        ),
        (
            "one that is not",
            decrypted(Inner::Unrecognised),
            Decided("block-reset", Some(TUNNELS)),
        ),
    ]);
}
