//! What a client of a proxy is told of why there is no answer of an origin's: the error types of
//! `Proxy-Status` (RFC 9209 section 2.3).

use sluice_abi::Reason;

/// The error type for a reason for which the gateway did not connect, or gave up; `None` for reasons
/// that say nothing of that, such as the end of a flow that went well.
#[must_use]
pub(crate) const fn error_type(reason: Reason) -> Option<&'static str> {
    use Reason as R;
    Some(match reason {
        R::UnresolvedName => "dns_error",
        R::OriginRefused => "connection_refused",
        R::OriginTimeout => "connection_timeout",
        R::OriginUnreachable => "destination_ip_unroutable",
        R::ProxyLoop => "proxy_loop_detected",
        R::SelfConnect | R::NeverConnect | R::PrivateDestination => "destination_ip_prohibited",
        R::OriginClosed | R::OriginReset => "connection_terminated",
        R::OriginHandshakeFailed
        | R::InconsistentServerHello
        | R::NoCommonVersion
        | R::NoCommonCipher
        | R::ClientCertificateRequired => "tls_protocol_error",
        R::CertificateInvalid | R::OriginUnverifiable => "tls_certificate_error",
        R::GatewayFlowLimit | R::GatewayClientLimit => "connection_limit_reached",
        R::BadRequest | R::MisdirectedRequest => "http_request_error",
        R::Internal | R::LeafUnavailable | R::AuditUnavailable => "proxy_internal_error",
        R::StageUnavailable
        | R::Rule
        | R::PolicyRule
        | R::Default
        | R::DefaultUnidentified
        | R::NoCredentials
        | R::UntrueName
        | R::Warned => "http_request_denied",
        _ => return None,
    })
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
    fn every_type_is_registered() {
        let mut types = 0;
        for reason in Reason::ALL {
            let Some(error) = error_type(*reason) else {
                continue;
            };
            types += 1;
            assert!(REGISTERED.contains(&error), "{reason:?}: {error}");
        }
        assert!(types > 20, "{types}");
        assert_eq!(error_type(Reason::Finished), None);
        assert_eq!(error_type(Reason::Steered), None);
    }
}
