//! What rustls asks in the middle of a handshake, and what is noted of it.
//!
//! A handshake succeeds also where the certificate is not valid: the report says so. What always has
//! to be right is the proof that the origin holds the key of the certificate that it shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use webpki::RawPublicKeyEntity;

use super::failure::Cause;
use super::faults::Fault;
use super::judge::Presented;
use super::report::Certificate;
use super::settings::ClientCertificate;
use super::trust::Trust;
use super::view::View;

/// The most certificates that an origin may send. Real chains have up to six.
pub(super) const MAX_CERTIFICATES: usize = 16;

tokio::task_local! {
    /// The handshake that the task is polling. rustls resumes sessions only where the verifier is
    /// the same, so that one verifier serves all of them.
    pub(super) static EXCHANGE: Arc<Exchange>;
}

/// What is noted of one handshake.
#[derive(Debug, Default)]
pub(super) struct Exchange(Mutex<Noted>);

#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Whether the origin has said anything.
    pub(super) heard: bool,
    pub(super) certificate: Option<Certificate>,
    pub(super) requested: bool,
    pub(super) refused: Option<Cause>,
}

impl Exchange {
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes something of the handshake that is being polled.
fn note<T>(change: impl FnOnce(&mut Noted) -> T) -> Result<T, Error> {
    EXCHANGE
        .try_with(|exchange| change(&mut exchange.noted()))
        .map_err(|_| Error::General("a handshake outside its task".to_owned()))
}

/// Ends the handshake for a cause of ours.
fn refuse(cause: Cause) -> Error {
    match note(|noted| noted.refused = Some(cause)) {
        Ok(()) => Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
        Err(error) => error,
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Arc<Trust>,
    pub(super) client_certificate: ClientCertificate,
}

impl Verifier {
    /// What follows on a proof that is right.
    fn proved(&self) -> Result<HandshakeSignatureValid, Error> {
        let requested = note(|noted| noted.requested)?;
        match self.client_certificate {
            // The certificate is known and proved by now, and nothing was answered yet.
            ClientCertificate::Refuse if requested => Err(refuse(Cause::ClientCertificateRequired)),
            ClientCertificate::Refuse | ClientCertificate::Empty => {
                Ok(HandshakeSignatureValid::assertion())
            }
        }
    }
}

/// The key of a certificate that need not be otherwise right.
fn key_of(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let view = View::of(certificate).ok_or(CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(view.key()).into_owned())
}

fn bad_proof(_: webpki::Error) -> Error {
    CertificateError::BadSignature.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let count = intermediates.len() + 1;
        if count > MAX_CERTIFICATES {
            return Err(refuse(Cause::TooManyCertificates(count)));
        }
        let shown = Presented {
            leaf: end_entity,
            issuers: intermediates,
            staple: ocsp_response,
            name: server_name,
        };
        let certificate = self.trust.judge(shown, now);
        let own = certificate.faults.contains(Fault::SelfTrust);
        note(|noted| noted.certificate = Some(certificate))?;
        if own {
            return Err(refuse(Cause::SelfTrust));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of(cert)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(bad_proof)?;
        let (_, algorithms) = self
            .trust
            .strict
            .mapping
            .iter()
            .find(|&&(scheme, _)| scheme == dss.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // In TLS 1.2 a scheme leaves the curve open (RFC 5246 section 7.4.1.4.1).
        let right = algorithms.iter().any(|&algorithm| {
            key.verify_signature(algorithm, message, dss.signature())
                .is_ok()
        });
        if !right {
            return Err(CertificateError::BadSignature.into());
        }
        self.proved()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &key_of(cert)?, dss, &self.trust.strict)?;
        self.proved()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.strict.supported_schemes()
    }
}

/// Has no certificate, and notes that one was asked for.
#[derive(Debug)]
pub(super) struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of its task no handshake gets as far as its end.
        let _ = note(|noted| noted.requested = true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
