//! Why a client ended a handshake; each reason needs a different remedy.

use std::io;

use rustls::{CertificateError, Error};

/// Why a client does not trust a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustFault {
    /// No trusted CA has signed the certificate; it may be self-signed.
    Authority,
    /// The certificate is for other names.
    Name,
    /// The certificate has expired or is not valid yet, by this machine's clock.
    Time,
    /// The other end does not use TLS.
    NoTls,
}

impl TrustFault {
    /// The fault behind an error of [`crate::Connector::connect`], if it is one of these.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Some(Self::Name),
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Some(Self::Time),
            Error::InvalidCertificate(_) => Some(Self::Authority),
            Error::InvalidMessage(_) => Some(Self::NoTls),
            _ => None,
        }
    }
}
