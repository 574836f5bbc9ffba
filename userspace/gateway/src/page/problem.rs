//! Errors of the gateway's own that people see as pages.

use http::StatusCode;

/// What went wrong, where it was no rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Problem {
    /// The origin could not be reached, or its answer not be trusted.
    BadGateway,
    /// The request is not well formed, or may be understood in several ways.
    BadRequest,
    /// A warning was continued from with something that does not count.
    Forbidden,
    /// The origin did not answer in time.
    GatewayTimeout,
    /// The header fields are too large.
    HeadersTooLarge,
    /// The method does not fit the path.
    Method,
    /// The request is for another server than its connection.
    Misdirected,
    /// The method is not supported.
    NotSupported,
    /// The body is too large.
    TooLarge,
    /// Nobody may be led there through this gateway.
    Prohibited,
    /// The proxy asks who the client is.
    Credentials,
    /// The request came back to where it had been.
    Loop,
    /// A limit is reached.
    Unavailable,
    /// The URL is too long.
    UrlTooLong,
    /// The version of HTTP is not supported.
    Version,
}

impl Problem {
    /// Every problem.
    pub const ALL: [Self; 15] = [
        Self::BadGateway,
        Self::BadRequest,
        Self::Forbidden,
        Self::GatewayTimeout,
        Self::HeadersTooLarge,
        Self::Method,
        Self::Misdirected,
        Self::NotSupported,
        Self::Credentials,
        Self::Loop,
        Self::Prohibited,
        Self::TooLarge,
        Self::Unavailable,
        Self::UrlTooLong,
        Self::Version,
    ];

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::Credentials => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Prohibited => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UrlTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// The problem that a status stands for; of others the one that is blamed on the same side.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        let known = Self::ALL.into_iter().find(|known| known.status() == status);
        known.unwrap_or(if status.is_client_error() {
            Self::BadRequest
        } else {
            Self::BadGateway
        })
    }
}
