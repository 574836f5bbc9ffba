//! What is given of the inside of TLS.

use sluice_policy::Inner;

use super::given::{Bad, Field, Given};
use crate::config::inner_word;

/// The word for what is none that is known, beside `null`.
const NONE: &str = "none";

impl Given<'_> {
    /// What is spoken inside TLS: what was said or, where any fact of a request was, HTTP.
    ///
    /// # Errors
    ///
    /// The word is none, and which one may be meant.
    pub(super) fn inside(&self) -> Result<Option<Inner<'_>>, Bad> {
        let is_request = self.content_type.is_named()
            || self.headers.is_named()
            || self.method.is_named()
            || self.size.is_named()
            || self.url.is_named()
            || self.user_agent.is_named();
        match &self.inner {
            Field::Unnamed => Ok(is_request.then_some(Inner::Http)),
            Field::Absent => Ok(Some(Inner::Unrecognised)),
            Field::Is(name) if name.0 == NONE => Ok(Some(Inner::Unrecognised)),
            Field::Is(name) => match inner_word(&name.0) {
                Ok(_) => Ok(Some(Inner::from_name(&name.0))),
                Err(message) => Err(Bad {
                    key: "inner",
                    message: format!("\"{}\": {message}", name.0),
                }),
            },
        }
    }
}
