//! What a client of a proxy is told of why there is no connection: a status code, and the error type
//! of `Proxy-Status` (RFC 9209 section 2.3).

use http::StatusCode;
use sluice_abi::Reason;

use crate::names::NameError;

/// The status code and the error type for a reason for which the gateway did not connect, or gave up;
/// `None` for reasons that say nothing of that, such as the end of a flow that went well.
///
/// What the policy refuses is 403, and its error type is `http_request_denied`.
#[must_use]
pub(crate) const fn of_reason(reason: Reason) -> Option<(StatusCode, &'static str)> {
    use Reason as R;
    use StatusCode as S;
    Some(match reason {
        R::UnresolvedName => (S::BAD_GATEWAY, "dns_error"),
        R::OriginRefused => (S::BAD_GATEWAY, "connection_refused"),
        R::OriginTimeout => (S::GATEWAY_TIMEOUT, "connection_timeout"),
        R::OriginUnreachable => (S::BAD_GATEWAY, "destination_ip_unroutable"),
        R::SelfConnect => (S::LOOP_DETECTED, "proxy_loop_detected"),
        R::NeverConnect | R::PrivateDestination => (S::FORBIDDEN, "destination_ip_prohibited"),
        R::OriginClosed | R::OriginReset => (S::BAD_GATEWAY, "connection_terminated"),
        R::OriginHandshakeFailed
        | R::InconsistentServerHello
        | R::NoCommonVersion
        | R::NoCommonCipher
        | R::ClientCertificateRequired => (S::BAD_GATEWAY, "tls_protocol_error"),
        R::CertificateInvalid | R::OriginUnverifiable => (S::BAD_GATEWAY, "tls_certificate_error"),
        R::GatewayFlowLimit | R::GatewayClientLimit => {
            (S::SERVICE_UNAVAILABLE, "connection_limit_reached")
        }
        R::BadRequest => (S::BAD_REQUEST, "http_request_error"),
        R::MisdirectedRequest => (S::MISDIRECTED_REQUEST, "http_request_error"),
        R::Internal | R::LeafUnavailable => (S::INTERNAL_SERVER_ERROR, "proxy_internal_error"),
        R::StageUnavailable => (S::FORBIDDEN, "http_request_denied"),
        R::Rule
        | R::PolicyRule
        | R::Default
        | R::DefaultUnidentified
        | R::UntrueName
        | R::Warned => (S::FORBIDDEN, "http_request_denied"),
        _ => return None,
    })
}

/// The status code and the error type for a name whose addresses are not known, more exactly than its
/// reason has them.
#[must_use]
pub(crate) const fn of_name(error: NameError) -> (StatusCode, &'static str) {
    match error {
        NameError::NotAName => (StatusCode::BAD_REQUEST, "http_request_error"),
        NameError::NotFound | NameError::NoAddress | NameError::Unavailable => {
            (StatusCode::BAD_GATEWAY, "dns_error")
        }
        NameError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "dns_timeout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9209 section 2.3.
    const REGISTERED: &[&str] = &[
        "dns_timeout",
        "dns_error",
        "destination_not_found",
        "destination_unavailable",
        "destination_ip_prohibited",
        "destination_ip_unroutable",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "connection_read_timeout",
        "connection_write_timeout",
        "connection_limit_reached",
        "tls_protocol_error",
        "tls_certificate_error",
        "tls_alert_received",
        "http_request_error",
        "http_request_denied",
        "http_response_incomplete",
        "proxy_internal_response",
        "proxy_internal_error",
        "proxy_configuration_error",
        "proxy_loop_detected",
    ];

    #[test]
    fn every_type_is_registered_and_fits_its_status() {
        let mut types = 0;
        for &reason in Reason::ALL {
            let Some((status, error)) = of_reason(reason) else {
                continue;
            };
            types += 1;
            assert!(REGISTERED.contains(&error), "{reason:?}: {error}");
            let is_denied = error == "http_request_denied" || error.ends_with("_prohibited");
            assert_eq!(is_denied, status == StatusCode::FORBIDDEN, "{reason:?}");
            assert_eq!(
                error.ends_with("_timeout"),
                status == StatusCode::GATEWAY_TIMEOUT,
                "{reason:?}"
            );
        }
        assert!(types > 20, "{types}");
        assert_eq!(of_reason(Reason::Finished), None);
        assert_eq!(of_reason(Reason::Steered), None);
        for error in [
            NameError::NotAName,
            NameError::NotFound,
            NameError::NoAddress,
            NameError::TimedOut,
            NameError::Unavailable,
        ] {
            assert!(REGISTERED.contains(&of_name(error).1), "{error}");
        }
    }
}
