//! Everything that one page shows, ready to be written as HTML, JSON or text.

use http::StatusCode;
use serde_json::json;

use super::{Contact, Language, Offer};

/// What kind of page it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Blocked,
    Problem,
    Warning,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Problem => "problem",
            Self::Warning => "warning",
        }
    }
}

/// One page; the texts are safe to show and not yet escaped.
#[derive(Clone, Debug)]
pub(super) struct View<'v> {
    pub(super) kind: Kind,
    pub(super) language: Language,
    pub(super) status: StatusCode,
    pub(super) title: &'v str,
    pub(super) lead: &'v str,
    pub(super) message: Option<String>,
    pub(super) why: Option<String>,
    pub(super) url: Option<String>,
    pub(super) host: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) user: Option<String>,
    pub(super) time: String,
    pub(super) time_iso: String,
    pub(super) reference: String,
    pub(super) organisation: Option<String>,
    pub(super) contact: Option<Contact>,
    pub(super) proceed: Option<Offer>,
    pub(super) nonce: &'v str,
}

impl View<'_> {
    /// Markup that stands in every value of a sample.
    pub(super) const PROBE: &'static str = "<x-probe>";

    /// Pages of every kind, with everything and with as little as there may be.
    pub(super) fn samples(language: Language) -> Vec<View<'static>> {
        let value = || Some(format!("{}\"'&", Self::PROBE));
        let mut samples = Vec::new();
        for kind in [Kind::Blocked, Kind::Problem, Kind::Warning] {
            let full = View {
                kind,
                language,
                status: StatusCode::FORBIDDEN,
                title: "title",
                lead: "lead",
                message: value(),
                why: value(),
                url: value(),
                host: value(),
                rule: value(),
                user: value(),
                time: "2026-01-02 03:04:05 UTC".into(),
                time_iso: "2026-01-02T03:04:05Z".into(),
                reference: "01234-56789".into(),
                organisation: value(),
                contact: value().map(Contact::new),
                proceed: (kind == Kind::Warning).then(Offer::sample),
                nonce: "5ca1ab1e",
            };
            samples.push(View {
                message: None,
                why: None,
                url: None,
                host: None,
                rule: None,
                user: None,
                organisation: None,
                contact: None,
                proceed: None,
                ..full.clone()
            });
            samples.push(full);
        }
        samples
    }

    /// The page for those who read no HTML.
    pub(super) fn text(&self) -> String {
        let words = self.language.words();
        let mut text = format!("{}\n\n{}\n", self.title, self.lead);
        if let Some(message) = &self.message {
            text.push_str(&format!("\n{message}\n"));
        }
        text.push('\n');
        let server = match self.url {
            Some(_) => None,
            None => self.host.as_deref(),
        };
        for (word, value) in [
            (words.url, self.url.as_deref()),
            (words.host, server),
            (words.rule, self.rule.as_deref()),
            (words.why, self.why.as_deref()),
            (words.user, self.user.as_deref()),
            (words.time, Some(self.time.as_str())),
            (words.reference, Some(self.reference.as_str())),
        ] {
            if let Some(value) = value {
                text.push_str(&format!("{word}: {value}\n"));
            }
        }
        if let Some(contact) = &self.contact {
            text.push_str(&format!("\n{} {}\n", words.contact, contact.text));
        }
        if let Some(organisation) = &self.organisation {
            text.push_str(&format!("{organisation}\n"));
        }
        text
    }

    /// The page as problem details (RFC 9457), of the type `about:blank`, whose title is that of the
    /// status.
    pub(super) fn json(&self) -> String {
        json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": format!("{} {}", self.title, self.lead),
            "kind": self.kind.name(),
            "message": self.message,
            "why": self.why,
            "url": self.url,
            "host": self.host,
            "rule": self.rule,
            "user": self.user,
            "time": self.time_iso,
            "reference": self.reference,
            "contact": self.contact.as_ref().map(|contact| &contact.text),
        })
        .to_string()
    }
}
