//! What the pages hold, in every kind, form and language, whatever they are about.
#![cfg(test)]

mod document;
mod templates;

use bytes::Bytes;
use document::{Element, elements, only};
use http::{HeaderMap, Method, Response};
use sluice_gateway::page::{
    About, Contact, Language, Offer, PROCEED_PATH, Pages, Preference, Problem, Reference, Settings,
    Visitor, Warned, Warnings,
};

const NOW: i64 = 1_790_000_000;

fn about() -> About<'static> {
    About {
        url: Some("https://games.example/play?session=secret"),
        host: Some("games.example"),
        rule: Some("no games"),
        message: Some("Games are for after six."),
        reference: Reference::from_bytes([7; 10]),
        user: Some("alice"),
        time: NOW,
    }
}

fn pages() -> Pages {
    Pages::new(Settings {
        organisation: Some("Example Ltd".into()),
        contact: Some(Contact::new("helpdesk@example.org".into())),
        ..Settings::default()
    })
}

fn browser(language: &str) -> Preference<'_> {
    Preference {
        accept: Some(b"text/html,application/xhtml+xml,*/*;q=0.8"),
        accept_language: Some(language.as_bytes()),
    }
}

fn offer(method: &Method) -> Offer {
    let warned = Warned {
        visitor: Visitor::User("alice"),
        site: "games.example",
        rule: "no games",
    };
    let warnings = Warnings::new(4).unwrap();
    let path = "/play?a=\"><script>&b=2";
    let offer = warnings.offer(&warned, 3600, method, &HeaderMap::new(), path, NOW);
    offer.unwrap()
}

fn body(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// A response of every kind for one client.
fn every_kind(about: &About<'_>, preference: Preference<'_>) -> Vec<Response<Bytes>> {
    let pages = pages();
    let mut all = vec![
        pages.blocked(about, preference),
        pages.warning(about, None, preference),
        pages.warning(about, Some(&offer(&Method::GET)), preference),
        pages.warning(about, Some(&offer(&Method::POST)), preference),
    ];
    let problems = Problem::ALL.into_iter();
    all.extend(
        problems.map(|problem| pages.problem(problem, Some("why <it> is"), about, preference)),
    );
    all
}

fn attribute<'e>(element: &'e Element, name: &str) -> &'e str {
    element.attributes.get(name).map_or("", String::as_str)
}

#[test]
fn every_page_is_accessible_and_self_contained() {
    for (tag, language) in [("en", "en-GB"), ("de", "de-DE,de;q=0.9,en;q=0.1")] {
        for response in every_kind(&about(), browser(language)) {
            let page = elements(body(&response));
            assert_eq!(attribute(only(&page, "html"), "lang"), tag);
            assert_eq!(response.headers()["content-language"], tag);
            let heading = only(&page, "h1");
            assert!(!heading.text.trim().is_empty());
            assert!(only(&page, "title").text.starts_with(heading.text.trim()));
            for landmark in ["main", "footer"] {
                only(&page, landmark);
            }
            let viewport = page.iter().any(|e| attribute(e, "name") == "viewport");
            assert!(viewport, "not for phones");
            assert!(
                only(&page, "style")
                    .text
                    .contains("prefers-color-scheme: dark")
            );
            for element in &page {
                assert!(!matches!(
                    element.name.as_str(),
                    "script" | "link" | "img" | "iframe"
                ));
                for name in element.attributes.keys() {
                    assert!(
                        !name.starts_with("on") && name != "src" && name != "style",
                        "{name}"
                    );
                }
            }
            let terms = page.iter().filter(|e| e.name == "dt").count();
            assert_eq!(terms, page.iter().filter(|e| e.name == "dd").count());
            let reference = page.iter().find(|e| attribute(e, "class") == "reference");
            assert_eq!(reference.unwrap().text, "77777-77777");
        }
    }
}

#[test]
fn a_blocked_page_says_what_by_which_rule_and_whom_to_ask() {
    let response = pages().blocked(&about(), browser("en"));
    assert_eq!(response.status(), 403);
    let page = elements(body(&response));
    let main = &only(&page, "main").text;
    for shown in [
        "This page is blocked",
        "Games are for after six.",
        "https://games.example/play?\u{2026}",
        "no games",
        "alice",
        "2026-09-21 14:13:20 UTC",
    ] {
        assert!(main.contains(shown), "{shown} is not in {main}");
    }
    assert!(!body(&response).contains("secret"));
    assert_eq!(
        attribute(only(&page, "time"), "datetime"),
        "2026-09-21T14:13:20Z"
    );
    let link = only(&page, "a");
    assert_eq!(link.text, "helpdesk@example.org");
    assert_eq!(
        attribute(link, "href"),
        "mailto:helpdesk@example.org?subject=77777-77777"
    );
    let german = pages().blocked(&about(), browser("de"));
    let german = elements(body(&german));
    assert_eq!(only(&german, "h1").text, "Diese Seite ist gesperrt");
}

#[test]
fn nothing_that_a_page_is_about_becomes_markup() {
    let long = "\"><img src=x>".repeat(800);
    for hostile in [
        "<script>alert(1)</script>",
        "\"><script>x</script>",
        "'onmouseover='x",
        "</title></style></main><h1>x",
        "{{ nonce }}{% raw %}",
        "&lt;script&gt;&#60;",
        "a\u{202e}b\u{2066}c\u{200b}d\0e\u{feff}",
        "javascript:x",
        &long,
    ] {
        let about = About {
            url: Some(hostile),
            host: Some(hostile),
            rule: Some(hostile),
            message: Some(hostile),
            user: Some(hostile),
            ..about()
        };
        let plain = every_kind(&self::about(), browser("en"));
        let attacked = every_kind(&about, browser("en"));
        for (plain, attacked) in plain.iter().zip(&attacked) {
            let names = |response: &Response<Bytes>| -> Vec<String> {
                let page = elements(body(response));
                page.into_iter().map(|element| element.name).collect()
            };
            assert_eq!(names(plain), names(attacked), "{hostile}");
            assert!(attacked.body().len() < 20_000);
            let bidi =
                body(attacked).contains(['\u{202e}', '\u{2066}', '\u{200b}', '\0', '\u{feff}']);
            assert!(!bidi, "{hostile}");
        }
    }
}

#[test]
fn a_warning_carries_its_form_and_a_page_without_one_cannot_post() {
    let warning = pages().warning(&about(), Some(&offer(&Method::GET)), browser("en"));
    assert_eq!(warning.status(), 403);
    let page = elements(body(&warning));
    let form = only(&page, "form");
    assert_eq!(
        (attribute(form, "method"), attribute(form, "action")),
        ("post", PROCEED_PATH)
    );
    let input = |name: &str| {
        let input = page
            .iter()
            .find(|e| e.name == "input" && attribute(e, "name") == name);
        attribute(input.unwrap(), "value").to_owned()
    };
    assert_eq!(input("return_to"), "/play?a=\"><script>&b=2");
    assert_eq!(input("token").len(), 122);
    assert_eq!(only(&page, "button").text, "Continue");
    let policy = |response: &Response<Bytes>| {
        response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert!(policy(&warning).contains("form-action 'self'"));
    // Origin is `null` under a stricter one.
    assert_eq!(warning.headers()["referrer-policy"], "same-origin");

    let posted = pages().warning(&about(), Some(&offer(&Method::POST)), browser("en"));
    assert!(body(&posted).contains("was not passed on"));
    let program = Preference::default();
    for without in [
        pages().warning(&about(), None, browser("en")),
        pages().warning(&about(), Some(&offer(&Method::GET)), program),
    ] {
        assert!(!body(&without).contains("token"), "{}", body(&without));
        assert!(body(&without).contains("Open it in a browser"));
        assert!(policy(&without).contains("form-action 'none'"));
    }
}

#[test]
fn every_page_is_strict_about_what_it_may_do_and_kept_by_nobody() {
    let mut nonces = std::collections::HashSet::new();
    for response in every_kind(&about(), browser("en")) {
        let headers = response.headers();
        let page = elements(body(&response));
        let nonce = attribute(only(&page, "style"), "nonce");
        assert_eq!(nonce.len(), 32);
        assert!(
            nonces.insert(nonce.to_owned()),
            "a nonce stands on two pages"
        );
        let policy = headers["content-security-policy"].to_str().unwrap();
        let directives: Vec<_> = policy.split("; ").collect();
        assert_eq!(
            directives[..3],
            [
                "default-src 'none'",
                &format!("style-src 'nonce-{nonce}'"),
                "img-src data:",
            ]
        );
        assert_eq!(
            directives[4..],
            ["base-uri 'none'", "frame-ancestors 'none'"]
        );
        for (name, value) in [
            ("cache-control", "no-store"),
            ("content-type", "text/html; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value);
        }
        if only(&page, "body").attributes["class"] != "warning" {
            assert_eq!(headers["referrer-policy"], "no-referrer");
        }
    }
}

#[test]
fn programs_get_text_or_problem_details() {
    let text = pages().blocked(&about(), Preference::default());
    assert_eq!(text.headers()["content-type"], "text/plain; charset=utf-8");
    let lines: Vec<_> = body(&text).lines().collect();
    assert_eq!(lines[0], "This page is blocked");
    assert!(lines.contains(&"Address: https://games.example/play?\u{2026}"));
    assert!(lines.contains(&"Reference: 77777-77777"));
    assert!(!body(&text).contains('<'));

    let json = Preference {
        accept: Some(b"application/json"),
        accept_language: Some(b"de"),
    };
    let answer = pages().problem(Problem::Misdirected, Some("why"), &about(), json);
    assert_eq!(answer.status(), 421);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let details: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(details["status"], 421);
    assert_eq!(details["title"], "Misdirected Request");
    assert_eq!(details["reference"], "77777-77777");
    assert_eq!(details["why"], "why");
    let detail = details["detail"].as_str().unwrap();
    assert!(detail.starts_with("Die Anfrage ging an einen anderen Server"));
}

#[test]
fn problems_have_the_status_that_they_are_of() {
    for status in [
        400, 403, 405, 407, 413, 414, 421, 431, 501, 502, 503, 504, 505, 508,
    ] {
        let status = http::StatusCode::from_u16(status).unwrap();
        let problem = Problem::of(status);
        let response = pages().problem(problem, None, &about(), browser("en"));
        assert_eq!(response.status(), status);
    }
    assert_eq!(
        Problem::of(http::StatusCode::IM_A_TEAPOT),
        Problem::BadRequest
    );
    assert_eq!(
        Problem::of(http::StatusCode::INSUFFICIENT_STORAGE),
        Problem::BadGateway
    );
    let method = pages().problem(Problem::Method, None, &about(), browser("en"));
    assert_eq!(method.headers()["allow"], "POST");
}

#[test]
fn contacts_are_links_where_they_can_be() {
    for (contact, href) in [
        ("https://help.example/ask", Some("https://help.example/ask")),
        ("+49 (30) 1234-567", Some("tel:+49301234567")),
        ("the help desk, room 12", None),
        ("javascript:alert(1)", None),
        ("a@b@c", None),
        ("\"><script>@example.org", None),
    ] {
        let pages = Pages::new(Settings {
            contact: Some(Contact::new(contact.into())),
            languages: vec![Language::English],
            ..Settings::default()
        });
        let response = pages.blocked(&about(), browser("en"));
        let page = elements(body(&response));
        let link = page.iter().find(|element| element.name == "a");
        assert_eq!(link.map(|link| attribute(link, "href")), href);
        assert!(only(&page, "footer").text.contains(contact));
    }
}
