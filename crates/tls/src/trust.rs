//! Why a client ended a handshake: what there is to do about it differs.

use std::io;

use rustls::{CertificateError, Error};

/// What a client found wrong with whom it reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustFault {
    /// Nobody whom the client trusts has signed the certificate; it may be its own authority.
    Authority,
    /// The certificate is for other names.
    Name,
    /// The certificate has ended or not begun, by this machine's clock.
    Time,
    /// The other end speaks no TLS.
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
