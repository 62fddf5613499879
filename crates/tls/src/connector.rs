//! The client's side: the trusted CAs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;

use crate::session::Session;
use crate::{Stream, TlsError};

/// Starts TLS sessions on connected sockets.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Trusts the system's CAs, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if set.
    ///
    /// # Errors
    /// [`TlsError::NoAuthority`].
    pub fn native() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let why = found.errors.first().map_or_else(
            || "the system has none; install ca-certificates, or name a file of your own".to_owned(),
            ToString::to_string,
        );
        Self::trusting(found.certs, why)
    }

    /// Trusts only the CAs of a PEM text.
    ///
    /// # Errors
    /// [`TlsError::NoAuthority`].
    pub fn with_authority(pem: &[u8]) -> Result<Self, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        Self::trusting(certificates, "the text contains no certificate in PEM".to_owned())
    }

    /// Trusts only the CAs of a PEM file.
    ///
    /// # Errors
    /// [`TlsError::Read`], [`TlsError::NoAuthority`].
    pub fn with_authority_file(path: &Path) -> Result<Self, TlsError> {
        let pem = std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })?;
        Self::with_authority(&pem)
    }

    fn trusting(certificates: Vec<CertificateDer<'static>>, why: String) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(TlsError::NoAuthority(why));
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// Performs a handshake with the server of this name (or IP address).
    ///
    /// # Errors
    /// The server's identity cannot be verified, it does not use TLS, or it disconnects.
    pub async fn connect(&self, socket: TcpStream, name: &str) -> io::Result<Stream> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a name that TLS can verify"))?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let mut stream = Stream::tls(Session::new(socket, tls.into()));
        stream.handshake().await?;
        Ok(stream)
    }
}
