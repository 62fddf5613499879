//! The server's side: one certificate with its key, read from files and replaced when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use crate::key_log::KeyLogFile;
use crate::session::Session;
use crate::{Stream, TlsError};

/// Starts TLS sessions on accepted sockets.
#[derive(Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    current: Arc<CurrentCertificate>,
    files: [PathBuf; 2],
    /// The contents of the files when they were last read, usable or not; `None` if they could not be read.
    seen: Mutex<Option<[Vec<u8>; 2]>>,
}

/// The result of rereading the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The files have not changed.
    Same,
    /// New sessions get the new certificate; open ones keep theirs.
    Changed,
}

/// The certificate of new sessions.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Acceptor {
    /// Reads a chain of certificates and the key of the first one, both in PEM.
    ///
    /// # Errors
    /// [`TlsError`] with the name of the file.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = [certificate.to_owned(), key.to_owned()];
        let seen = read(&files)?;
        let current = Arc::new(CurrentCertificate(RwLock::new(parse(&files, &seen)?)));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), current, files, seen: Mutex::new(Some(seen)) })
    }

    /// Appends the secrets of all sessions made from now on to a file (NSS key log format), with which anyone can decrypt them.
    ///
    /// # Errors
    /// [`TlsError::KeyLog`] if the file cannot be opened.
    pub fn with_key_log(mut self, path: &Path) -> Result<Self, TlsError> {
        let opened = KeyLogFile::open(path);
        let file = opened.map_err(|error| TlsError::KeyLog { path: path.to_owned(), error })?;
        Arc::make_mut(&mut self.config).key_log = Arc::new(file);
        Ok(self)
    }

    /// When the certificate of new sessions expires, ms since 1970; `None` if its validity cannot be parsed.
    pub fn expires_at(&self) -> Option<u64> {
        let current = Arc::clone(&self.current.0.read().unwrap_or_else(PoisonError::into_inner));
        crate::validity::not_after(current.cert.first()?)
    }

    /// Rereads the files. An error is not reported again until it changes.
    ///
    /// # Errors
    /// [`TlsError`]; the certificate in use remains.
    pub fn refresh(&self) -> Result<Refreshed, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match read(&self.files) {
            Ok(now) => now,
            Err(_) if seen.is_none() => return Ok(Refreshed::Same),
            Err(error) => {
                *seen = None;
                return Err(error);
            }
        };
        if seen.as_ref() == Some(&now) {
            return Ok(Refreshed::Same);
        }
        let parsed = parse(&self.files, &now);
        *seen = Some(now);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = parsed?;
        Ok(Refreshed::Changed)
    }

    /// Starts a session on an accepted socket. [`Stream::handshake`] comes next.
    ///
    /// # Errors
    /// The session cannot be created, which only an invalid configuration can cause.
    pub fn accept(&self, socket: TcpStream) -> Result<Stream, TlsError> {
        let tls = ServerConnection::new(Arc::clone(&self.config)).map_err(TlsError::Unusable)?;
        Ok(Stream::tls(Session::new(socket, tls.into())))
    }
}

fn read(files: &[PathBuf; 2]) -> Result<[Vec<u8>; 2], TlsError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|error| TlsError::Read { path: path.clone(), error });
    Ok([read(&files[0])?, read(&files[1])?])
}

fn parse(files: &[PathBuf; 2], bytes: &[Vec<u8>; 2]) -> Result<Arc<CertifiedKey>, TlsError> {
    let no = |path: &Path, what| TlsError::Pem { path: path.to_owned(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes[0]).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| no(&files[0], "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes[1]).map_err(|_| no(&files[1], "private key"))?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
    certified.map(Arc::new).map_err(TlsError::Unusable)
}
