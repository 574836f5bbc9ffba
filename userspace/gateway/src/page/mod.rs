//! The pages that people see instead of what they asked for: blocked, warned, and errors.
//!
//! [`Pages`] makes a whole response of what a page is about, in the client's language (English or
//! German, by Accept-Language) and form: HTML for those who name it in Accept, problem details (RFC
//! 9457) for those who name JSON, plain text for everybody else, programs that take `*/*` among them.
//! A page needs no script, loads nothing, and is kept by nobody. The caller leaves the body out for
//! HEAD.
//!
//! Every page has a [`Reference`], which belongs into the access record too.
//!
//! An administrator may replace the template. It is written for minijinja (the language of Jinja2),
//! values are always escaped, and what is there to be shown is:
//!
//! | variable | what it is |
//! |---|---|
//! | `kind` | `blocked`, `warning` or `problem` |
//! | `status` | the status, a number |
//! | `lang` | the tag of the page's language |
//! | `title`, `lead` | the heading, and the sentences below it, in that language |
//! | `message` | what the rule says |
//! | `url`, `host` | what was asked for; the query is left out unless `show_query` |
//! | `rule` | the rule that decided |
//! | `why` | what is wrong with a request or an answer, in English |
//! | `user` | who is blocked or warned |
//! | `time`, `time_iso` | when, in UTC, for people and for a `datetime` attribute |
//! | `reference` | the reference |
//! | `organisation`, `contact`, `contact_href` | as configured; a link where `contact` can be one |
//! | `proceed` | on warnings that can be continued from: `action`, `token` and `return_to` of the form |
//! | `text` | words in the page's language: `contact`, `host`, `proceed`, `reference`, `rule`, `time`, `url`, `user`, `why` |
//! | `nonce` | what a `<style>` needs in its `nonce` attribute to be used |
//!
//! Whatever of these is not known is none, so that `{% if rule %}` asks for it.

mod language;
mod negotiate;
mod problem;
mod proceed;
mod reference;
mod safe;
mod template;
mod view;
mod warnings;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

pub use language::Language;
pub use problem::Problem;
pub use proceed::{Continuation, Denied, FORM_LIMIT};
pub use reference::Reference;
pub use template::{Template, TemplateError};
pub use warnings::{Offer, Visitor, Warned, Warnings};

use negotiate::Form;
use view::{Kind, View};

/// The path on every site to which a warning's form is posted (RFC 8615). Requests for it never reach
/// an origin.
pub const PROCEED_PATH: &str = "/.well-known/sluice/continue";

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct RandomError;

fn random(bytes: &mut [u8]) -> Result<(), RandomError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| RandomError)
}

/// The section `[page]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who runs the gateway.
    pub organisation: Option<String>,
    /// Whom to ask.
    pub contact: Option<Contact>,
    /// The languages; the first is for clients who ask for none of them. At least one.
    pub languages: Vec<Language>,
    /// Whether a URL is shown with its query.
    pub show_query: bool,
    /// The template.
    pub template: Template,
    /// Where the template came from; `None`: the built-in one.
    pub template_file: Option<std::path::PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            organisation: None,
            contact: None,
            languages: Language::ALL.to_vec(),
            show_query: false,
            template: Template::default(),
            template_file: None,
        }
    }
}

/// Whom to ask about a page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    text: String,
}

impl Contact {
    /// A contact that is shown as it is written.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self { text }
    }

    /// The contact as it is written.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// Where a link leads: an address of e-mail with the reference for its subject, a page, a
    /// telephone. Other texts are no links.
    fn href(&self, reference: &str) -> Option<String> {
        let text = self.text.as_str();
        let is_mail = |c: char| c.is_ascii_alphanumeric() || "@.+-_".contains(c);
        if text.starts_with("https://") && !text.contains(char::is_whitespace) {
            return Some(text.to_owned());
        }
        if text.matches('@').count() == 1 && text.chars().all(is_mail) {
            return Some(format!("mailto:{text}?subject={reference}"));
        }
        let digits: String = text.chars().filter(|c| !" -/()".contains(*c)).collect();
        let number = digits.strip_prefix('+')?;
        let is_number =
            (3..=15).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| format!("tel:{digits}"))
    }
}

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The URL in its normal form.
    pub url: Option<&'a str>,
    /// The server's name or address.
    pub host: Option<&'a str>,
    /// The rule that decided; `None`: the default.
    pub rule: Option<&'a str>,
    /// What the rule says.
    pub message: Option<&'a str>,
    /// What the client quotes when asking.
    pub reference: Reference,
    /// Who the client is.
    pub user: Option<&'a str>,
    /// When, in seconds since 1970 in UTC.
    pub time: i64,
}

/// What a client wants to be answered in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Preference<'a> {
    /// The Accept field.
    pub accept: Option<&'a [u8]>,
    /// The Accept-Language field.
    pub accept_language: Option<&'a [u8]>,
}

impl<'a> Preference<'a> {
    /// What the fields of a request prefer.
    #[must_use]
    pub fn of(headers: &'a HeaderMap) -> Self {
        let field = |name| headers.get(name).map(HeaderValue::as_bytes);
        Self {
            accept: field(header::ACCEPT),
            accept_language: field(header::ACCEPT_LANGUAGE),
        }
    }
}

/// Makes the pages.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    settings: Settings,
}

impl Pages {
    /// Pages as they are configured.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The page for a request that a rule or the default blocks; 403.
    #[must_use]
    pub fn blocked(&self, about: &About<'_>, preference: Preference<'_>) -> Response<Bytes> {
        let language = self.language(preference);
        let opening = language.blocked();
        let view = self.view(Kind::Blocked, language, about);
        self.answer(
            View {
                title: opening.title,
                lead: opening.lead,
                ..view
            },
            preference,
        )
    }

    /// The page for a request that a rule warns of. It is 403 like a block: what was asked for is not
    /// what is answered, so that no program and no search engine may take the one for the other.
    /// `offer` is how to continue; without it the page says that a browser is needed.
    #[must_use]
    pub fn warning(
        &self,
        about: &About<'_>,
        offer: Option<&Offer>,
        preference: Preference<'_>,
    ) -> Response<Bytes> {
        let language = self.language(preference);
        // Whoever reads no HTML has no form to post.
        let offer = offer.filter(|_| negotiate::form(preference.accept) == Form::Html);
        let repeat = offer.is_some_and(|offer| !offer.repeats());
        let opening = language.warning(offer.is_some(), repeat);
        let view = self.view(Kind::Warning, language, about);
        self.answer(
            View {
                title: opening.title,
                lead: opening.lead,
                proceed: offer.cloned(),
                ..view
            },
            preference,
        )
    }

    /// The page for an error; `why` is what is known of it, in English.
    #[must_use]
    pub fn problem(
        &self,
        problem: Problem,
        why: Option<&str>,
        about: &About<'_>,
        preference: Preference<'_>,
    ) -> Response<Bytes> {
        let language = self.language(preference);
        let opening = language.problem(problem);
        let view = self.view(Kind::Problem, language, about);
        let mut response = self.answer(
            View {
                status: problem.status(),
                title: opening.title,
                lead: opening.lead,
                why: why.map(safe::shown),
                ..view
            },
            preference,
        );
        if problem == Problem::Method {
            // RFC 9110 section 15.5.6; only where warnings are continued from.
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }

    fn language(&self, preference: Preference<'_>) -> Language {
        negotiate::language(preference.accept_language, &self.settings.languages)
    }

    fn view(&self, kind: Kind, language: Language, about: &About<'_>) -> View<'static> {
        let shown = |text: Option<&str>| text.map(safe::shown);
        let time = jiff::Timestamp::from_second(about.time).unwrap_or_default();
        View {
            kind,
            language,
            status: StatusCode::FORBIDDEN,
            title: "",
            lead: "",
            message: about.message.map(safe::message),
            why: None,
            url: about
                .url
                .map(|url| safe::url(url, self.settings.show_query)),
            host: shown(about.host),
            rule: shown(about.rule),
            user: shown(about.user),
            time: time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            time_iso: time.to_string(),
            reference: about.reference.to_string(),
            organisation: self.settings.organisation.clone(),
            contact: self.settings.contact.clone(),
            proceed: None,
            nonce: "",
        }
    }

    fn answer(&self, view: View<'_>, preference: Preference<'_>) -> Response<Bytes> {
        let nonce = nonce();
        let view = View {
            nonce: &nonce,
            ..view
        };
        let (body, media) = match negotiate::form(preference.accept) {
            Form::Json => (view.json(), "application/problem+json"),
            Form::Text => (view.text(), "text/plain; charset=utf-8"),
            Form::Html => match self.settings.template.render(&view) {
                Ok(html) => (html, "text/html; charset=utf-8"),
                // A template that was tried out with every kind of page does not fail.
                Err(_) => (view.text(), "text/plain; charset=utf-8"),
            },
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = view.status;
        let headers = response.headers_mut();
        // A form's Origin would be `null` under `no-referrer`, and could not be told from another
        // site's.
        let referrer = if view.proceed.is_some() {
            "same-origin"
        } else {
            "no-referrer"
        };
        for (name, value) in [
            (header::CONTENT_TYPE, media),
            (header::CONTENT_LANGUAGE, view.language.tag()),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, referrer),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::VARY, "Accept, Accept-Language"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(
            header::HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        );
        if let Ok(value) = HeaderValue::try_from(security_policy(&view)) {
            headers.insert(header::CONTENT_SECURITY_POLICY, value);
        }
        response
    }
}

/// Nothing is loaded but the page's own style and images inside the page.
fn security_policy(view: &View<'_>) -> String {
    let form = if view.proceed.is_some() {
        "'self'"
    } else {
        "'none'"
    };
    let style = if view.nonce.is_empty() {
        "'none'".into()
    } else {
        format!("'nonce-{}'", view.nonce)
    };
    format!(
        "default-src 'none'; style-src {style}; img-src data:; form-action {form}; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

/// What marks the page's own style; empty where there are no random bytes, and the page is then
/// without one.
fn nonce() -> String {
    let mut bytes = [0; 16];
    match random(&mut bytes) {
        Ok(()) => hex(&bytes),
        Err(RandomError) => String::new(),
    }
}

/// Bytes in hexadecimal, as records and tokens have them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(digit).collect()
}
