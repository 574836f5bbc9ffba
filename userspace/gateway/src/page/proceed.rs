//! The request by which somebody continues from a warning.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use sluice_policy::{Authority, Scheme, normal};

use super::{PROCEED_PATH, Problem, Visitor, Warnings};

/// Bytes that the posted form may have: a caller reads no more than one beyond.
pub const FORM_LIMIT: usize = 64 << 10;

/// A request for [`PROCEED_PATH`], with its body.
#[derive(Clone, Copy, Debug)]
pub struct Continuation<'a> {
    /// The method.
    pub method: &'a Method,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The body, or its first [`FORM_LIMIT`] bytes and one.
    pub body: &'a [u8],
    /// The scheme of the site.
    pub scheme: Scheme,
    /// The site.
    pub authority: &'a Authority,
    /// Who sends it.
    pub visitor: Visitor<'a>,
}

/// Why a warning is not continued from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The page is too old, or its period is over.
    #[error("the warning was shown too long ago")]
    Expired,
    /// What is posted is no form with a token and a path.
    #[error("a form with a token and a path is expected")]
    Form,
    /// The method is not POST.
    #[error("only POST continues from a warning")]
    Method,
    /// The request does not come from a page of this site, or nobody can tell.
    #[error("the request does not come from the warning's own page")]
    Origin,
    /// The token is none, or of another visitor or site.
    #[error("the token is not of this visitor and site")]
    Token,
    /// The body is longer than [`FORM_LIMIT`].
    #[error("the form is too large")]
    TooLarge,
}

impl Denied {
    /// The page that says so.
    #[must_use]
    pub const fn problem(self) -> Problem {
        match self {
            Self::Expired | Self::Origin | Self::Token => Problem::Forbidden,
            Self::Form => Problem::BadRequest,
            Self::Method => Problem::Method,
            Self::TooLarge => Problem::TooLarge,
        }
    }
}

impl Warnings {
    /// Answers a request for [`PROCEED_PATH`]: whoever has a page's token is from now on not warned,
    /// and sent on by a 303 to the path that was asked for, on the same site.
    ///
    /// The token alone shows that its visitor was shown the page. That nobody else made the visitor
    /// post it is what browsers say in Origin and Sec-Fetch-Site; a request that has neither is
    /// refused. In the clear browsers send no Sec-Fetch fields: there a site's own script can continue
    /// in its visitor's name.
    ///
    /// # Errors
    ///
    /// [`Denied`], and the page for it.
    pub fn proceed(&self, asked: &Continuation<'_>, now: i64) -> Result<Response<Bytes>, Denied> {
        if *asked.method != Method::POST {
            return Err(Denied::Method);
        }
        if asked.body.len() > FORM_LIMIT {
            return Err(Denied::TooLarge);
        }
        if !comes_from_the_page(asked) {
            return Err(Denied::Origin);
        }
        let token = field(asked.body, "token").ok_or(Denied::Form)?;
        let return_to = field(asked.body, "return_to").ok_or(Denied::Form)?;
        // Whatever is posted becomes a path, and the whole URL is of this site.
        let path = normal::path_and_query(&return_to).map_err(|_| Denied::Form)?;
        let path = if path.starts_with(PROCEED_PATH) {
            "/"
        } else {
            path.as_ref()
        };
        let site = asked.authority.as_str();
        let location = format!("{}://{site}{path}", asked.scheme.name());
        let location = HeaderValue::try_from(location).map_err(|_| Denied::Form)?;
        self.accept(asked.visitor, site, &token, now)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

/// Whether a browser says that its user left a page of the same site by this request. Pages cannot set
/// these fields, and a script that posts a form has no user who pressed its button.
fn comes_from_the_page(asked: &Continuation<'_>) -> bool {
    let own = format!("{}://{}", asked.scheme.name(), asked.authority);
    // None where the field is not there.
    let says = |name: &str, wanted: &str| {
        let mut values = asked.headers.get_all(name).iter().peekable();
        let first = values.peek().is_some();
        first.then(|| values.all(|value| value.as_bytes() == wanted.as_bytes()))
    };
    let origin = says("origin", &own);
    let fetched = says("sec-fetch-site", "same-origin").map(|is_own| {
        is_own
            && says("sec-fetch-mode", "navigate") == Some(true)
            && says("sec-fetch-user", "?1") == Some(true)
    });
    match (origin, fetched) {
        (None, None) => false,
        (origin, fetched) => origin != Some(false) && fetched != Some(false),
    }
}

/// The first value of a field of a form (`application/x-www-form-urlencoded`).
fn field(body: &[u8], name: &str) -> Option<String> {
    let mut pairs = body.split(|&byte| byte == b'&');
    let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        decoded.push(match (byte, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                digit(*high)? << 4 | digit(*low)?
            }
            (b'%', _) => return None,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Warned;

    const NOW: i64 = 1_790_000_000;
    const ALICE: Visitor<'_> = Visitor::User("alice");

    fn post(
        warnings: &Warnings,
        body: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Response<Bytes>, Denied> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let asked = Continuation {
            method: &Method::POST,
            headers: &headers,
            body: body.as_bytes(),
            scheme: Scheme::Https,
            authority: &Authority::parse("a.example", Scheme::Https).unwrap(),
            visitor: ALICE,
        };
        warnings.proceed(&asked, NOW)
    }

    fn form(warnings: &Warnings, return_to: &str) -> String {
        let warned = Warned {
            visitor: ALICE,
            site: "a.example",
            rule: "games",
        };
        let offer = warnings.offer(&warned, 3600, &Method::GET, &HeaderMap::new(), "/", NOW);
        format!("token={}&return_to={return_to}", offer.unwrap().token())
    }

    const OWN: [(&str, &str); 4] = [
        ("origin", "https://a.example"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
    ];

    #[test]
    fn whoever_continues_is_sent_on_and_stays_on_the_site() {
        let warnings = Warnings::new(16).unwrap();
        for (return_to, location) in [
            ("%2Fx%3Fa%3D1%2B1", "https://a.example/x?a=1+1"),
            ("/x/%252e%252e/y", "https://a.example/y"),
            ("//evil.example/", "https://a.example//evil.example/"),
            ("/.well-known/sluice/continue", "https://a.example/"),
            ("", "https://a.example/"),
        ] {
            let response = post(&warnings, &form(&warnings, return_to), &OWN).unwrap();
            assert_eq!(response.status(), 303);
            assert_eq!(response.headers()["location"], location, "{return_to}");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
        for return_to in [
            "https://evil.example/",
            "@evil.example/",
            ".evil.example/",
            "/\\evil.example/",
            "/%0d%0aSet-Cookie:x",
            "/%",
            "javascript:x",
        ] {
            let denied = post(&warnings, &form(&warnings, return_to), &OWN);
            assert_eq!(denied.unwrap_err(), Denied::Form, "{return_to}");
        }
    }

    #[test]
    fn other_sites_cannot_post_in_a_visitor_s_name() {
        let warnings = Warnings::new(16).unwrap();
        let form = form(&warnings, "/");
        for fields in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "https://evil.example")],
            &[("origin", "http://a.example")],
            &[
                ("origin", "https://a.example"),
                ("origin", "https://evil.example"),
            ],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[
                ("origin", "https://a.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-mode", "cors"),
            ],
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-user", "?1")],
            // A script of the site posts the form.
            &OWN[..3],
        ] {
            let denied = post(&warnings, &form, fields);
            assert_eq!(denied.unwrap_err(), Denied::Origin, "{fields:?}");
        }
        for fields in [&OWN[..1], &OWN[1..]] {
            assert!(post(&warnings, &form, fields).is_ok(), "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_form_is_refused_before_anything_is_remembered() {
        let warnings = Warnings::new(16).unwrap();
        for body in [
            "",
            "token=",
            "return_to=/",
            "xtoken=1&return_to=/",
            "token=%z&return_to=/",
        ] {
            let denied = post(&warnings, body, &OWN).unwrap_err();
            assert_eq!(denied, Denied::Form, "{body}");
        }
        let denied = post(&warnings, "token=00&return_to=/", &OWN).unwrap_err();
        assert_eq!(
            (denied, denied.problem().status().as_u16()),
            (Denied::Token, 403)
        );
        let long = "x".repeat(FORM_LIMIT + 1);
        assert_eq!(post(&warnings, &long, &OWN).unwrap_err(), Denied::TooLarge);
        let authority = Authority::parse("a.example", Scheme::Https).unwrap();
        let get = Continuation {
            method: &Method::GET,
            headers: &HeaderMap::new(),
            body: b"",
            scheme: Scheme::Https,
            authority: &authority,
            visitor: ALICE,
        };
        let denied = warnings.proceed(&get, NOW).unwrap_err();
        assert_eq!(denied.problem().status(), 405);
    }
}
