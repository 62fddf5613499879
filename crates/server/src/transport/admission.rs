//! Admission of a socket before its request: the PROXY header, the address's connection rate, and TLS. One deadline covers
//! all of this and the request head, so that a slow peer gains nothing by being slow at several steps.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use agentbench_tls::Stream;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::peer::Peer;
use super::{handshake, proxy_header};
use crate::clock;
use crate::shared::Shared;
use crate::worker::Worker;

/// Why a socket was not admitted.
enum AdmissionError {
    /// The peer disconnected, which is not an error.
    Disconnected,
    NoProxyHeader,
    TlsFailed(io::Error),
    /// The address exceeds its connection rate.
    RateExceeded(Stream, Peer, u64),
}

/// Admits one accepted socket and passes it to the handshake.
pub(crate) async fn admit(worker: Rc<Worker>, socket: TcpStream, from: SocketAddr) {
    let shared = &worker.shared;
    let deadline = clock::timer() + shared.config.auth_timeout;
    let direct = Peer::new(from.ip());
    let admitted = timeout_at(deadline, open_stream(shared, socket, direct)).await;
    let cause = match admitted {
        Ok(Ok((stream, peer))) => {
            return Box::pin(handshake::serve(worker, stream, peer, deadline)).await;
        }
        Ok(Err(AdmissionError::Disconnected)) => return,
        Ok(Err(AdmissionError::NoProxyHeader)) => {
            tracing::warn!(proxy = %direct.address, "a trusted proxy sends no PROXY header; set it up to, or turn PROXY_PROTOCOL off");
            "no_proxy_header"
        }
        Ok(Err(AdmissionError::TlsFailed(error))) => {
            tracing::debug!(%error, address = %direct.address, "a TLS handshake failed");
            "tls_failed"
        }
        Ok(Err(AdmissionError::RateExceeded(stream, peer, retry_after))) => {
            return Box::pin(handshake::too_many(shared, stream, peer, retry_after)).await;
        }
        Err(_) => "auth_timeout",
    };
    shared.metrics.refused(cause);
    shared.ops.auditor.record_stranger(worker.now(), cause, direct.address, "");
}

async fn open_stream(
    shared: &Shared,
    socket: TcpStream,
    direct: Peer,
) -> Result<(Stream, Peer), AdmissionError> {
    let security = &shared.config.security;
    let mut peer = direct;
    let mut socket = socket;
    if security.proxy_protocol && security.trusted_proxies.contains(direct.address) {
        let source = read_proxy_header(&mut socket).await?;
        peer = source.map_or(direct, |source| Peer::new(source.ip()));
    }
    // For a trusted proxy the rate is checked once the request names the client's address.
    if !security.trusted_proxies.contains(peer.address)
        && let Err(retry_after) = shared.gate.addresses.take_connection(peer.address, shared.clock.wall_ms())
    {
        // Refused without TLS: the limit is meant to save the handshake.
        return Err(AdmissionError::RateExceeded(Stream::Plain(socket), peer, retry_after));
    }
    let Some(tls) = &shared.gate.tls else { return Ok((Stream::Plain(socket), peer)) };
    let mut stream =
        tls.accept(socket).map_err(|error| AdmissionError::TlsFailed(io::Error::other(error)))?;
    match stream.handshake().await {
        Ok(()) => Ok((stream, peer)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(AdmissionError::Disconnected),
        Err(error) => Err(AdmissionError::TlsFailed(error)),
    }
}

/// Reads exactly the header from the socket: the bytes after it may be TLS.
async fn read_proxy_header(socket: &mut TcpStream) -> Result<Option<SocketAddr>, AdmissionError> {
    let mut buffer = vec![0; proxy_header::MAX_BYTES];
    let mut seen = 0;
    loop {
        let count = socket.peek(&mut buffer).await.map_err(|_| AdmissionError::Disconnected)?;
        if count == 0 {
            return Err(AdmissionError::Disconnected);
        }
        match proxy_header::parse(&buffer[..count]).map_err(|_| AdmissionError::NoProxyHeader)? {
            Some(header) => {
                socket
                    .read_exact(&mut buffer[..header.size])
                    .await
                    .map_err(|_| AdmissionError::Disconnected)?;
                return Ok(header.source);
            }
            // A peek returns at once with the bytes available; a fragmented header is rare, and the deadline ends the loop.
            None if count == seen => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            None => seen = count,
        }
    }
}
