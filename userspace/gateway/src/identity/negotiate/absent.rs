//! A program without Kerberos in it.

use super::{Accepted, NegotiateError, Settings};

/// Nobody: this program was built without the feature `kerberos`.
#[derive(Debug)]
pub struct Negotiate(std::convert::Infallible);

impl Negotiate {
    /// Cannot be had.
    ///
    /// # Errors
    ///
    /// [`NegotiateError::Unavailable`], always.
    pub fn new(settings: Settings) -> Result<Self, NegotiateError> {
        drop(settings);
        let message = "this sluice was built without the feature `kerberos`";
        Err(NegotiateError::Unavailable(message.into()))
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn accept(&self, token: &[u8]) -> Result<Accepted, NegotiateError> {
        let _ = token;
        match self.0 {}
    }
}
