//! Why a message is not forwarded, and the status that says so.

use http::StatusCode;
use sluice_policy::NormalError;

use super::wire::Bad;

/// Why a request is not forwarded. A connection of HTTP/1 is closed behind the answer, since what
/// follows on it may not be what it seems.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `*` asks about a whole server, which only OPTIONS does (RFC 9112 section 3.2.4).
    #[error("only OPTIONS may ask for *")]
    Asterisk,
    /// Host and the target of the request name different servers.
    #[error("the Host field and the request's target name different servers")]
    Authorities,
    /// A field that every recipient needs is declared to be for this connection alone, so that the
    /// origin would not see it.
    #[error("the Connection field names {0}, which is for the server")]
    Connection(Box<str>),
    /// The length of the body is not certain.
    #[error("{0}")]
    Framing(#[from] Framing),
    /// A field that HTTP/2 does not have (RFC 9113 section 8.2.2).
    #[error("HTTP/2 has no field {0}")]
    Http2Field(&'static str),
    /// The method is for proxies (CONNECT), or returns what this gateway has added (TRACE).
    #[error("the method is not supported here")]
    Method,
    /// The request is for a server that this connection was not made to.
    #[error("this connection was made to another server than the request names")]
    Misdirected,
    /// No server is named.
    #[error("the request names no server: a Host field is missing")]
    NoAuthority,
    /// A field of which there is one stands twice.
    #[error("the field {0} stands there more than once")]
    Repeated(&'static str),
    /// More fields than allowed.
    #[error("the request has more than {0} header fields")]
    TooManyFields(usize),
    /// Fields of more bytes than allowed.
    #[error("the header fields have more than {0} bytes")]
    FieldsTooLarge(usize),
    /// The URL is none, or may be read in several ways.
    #[error("the URL cannot be used: {0}")]
    Url(#[from] NormalError),
    /// A URL of more bytes than allowed.
    #[error("the URL has more than {0} bytes")]
    UrlTooLong(usize),
    /// A value holds a control character.
    #[error("the value of the field {0} holds a control character")]
    Value(Box<str>),
    /// The bytes of the request can be read in more than one way, or in none.
    #[error("{0}")]
    Wire(#[from] Bad),
    /// Neither HTTP/1 nor HTTP/2.
    #[error("this version of HTTP is not supported here")]
    Version,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            // RFC 9110 section 15.6.2: not supported for any resource, so that there is no list of
            // methods to answer with, as 405 has to.
            Self::Method => StatusCode::NOT_IMPLEMENTED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::TooManyFields(_)
            | Self::FieldsTooLarge(_)
            | Self::Wire(Bad::TooMany | Bad::TooLarge) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::UrlTooLong(_) | Self::Wire(Bad::UrlTooLong) => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why an origin's answer is not passed on; the client is told 502.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The length of the body is not certain.
    #[error("{0}")]
    Framing(#[from] Framing),
    /// The origin asks for the credentials of a proxy, which it is not.
    #[error("the server asks for a password as if it were a proxy")]
    ProxyAuthentication,
    /// Protocols are switched although nobody asked for it.
    #[error("the server switches to a protocol that was not asked for")]
    Switch,
    /// A value holds a control character.
    #[error("the value of the field {0} holds a control character")]
    Value(Box<str>),
}

/// Why the length of a body is not certain (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Framing {
    /// A transfer coding other than `chunked`, or where there can be none.
    #[error("a transfer coding other than chunked, or where there can be none")]
    Coding,
    /// A length that is no number, or several.
    #[error("Content-Length is not one number of digits")]
    Length,
    /// A body of a CONNECT, behind which a tunnel follows.
    #[error("a CONNECT has no body")]
    Tunnel,
    /// Both a length and a coding.
    #[error("Content-Length and Transfer-Encoding contradict each other")]
    Both,
}
