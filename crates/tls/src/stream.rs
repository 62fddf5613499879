//! The socket that all users of this crate see, of either kind.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;

use crate::session::Session;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// Directly from the kernel.
    Plain(TcpStream),
    /// With a TLS session; boxed, so that plain sockets stay small.
    #[doc(hidden)]
    Tls(Box<TlsStream>),
}

/// The TLS half of [`Stream`].
#[derive(Debug)]
pub struct TlsStream(pub(crate) Session);

impl Stream {
    pub(crate) fn tls(session: Session) -> Self {
        Self::Tls(Box::new(TlsStream(session)))
    }

    /// The underlying socket, for its options and addresses. Bytes must go through [`Stream`] only.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.0.socket,
        }
    }

    /// Whether it uses TLS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The certificate that the peer presented, in DER; `None` without TLS, and for clients, which present none.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.0.peer_certificate(),
        }
    }

    /// Reads available bytes. 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if there are none; `InvalidData` for bytes that are not TLS.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
            Self::Tls(tls) => tls.0.try_read(buffer),
        }
    }

    /// Writes what fits. With TLS, "written" may mean: encrypted, and waiting for [`Self::push`].
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => tls.0.try_write(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes what fits of several slices.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    #[inline]
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write_vectored(slices),
            Self::Tls(tls) => tls.0.try_write(slices),
        }
    }

    /// Sends encrypted bytes to the socket. Does nothing without TLS.
    ///
    /// # Errors
    /// `WouldBlock` if the socket did not accept all of it.
    #[inline]
    pub fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.0.push(),
        }
    }

    /// Ends our side of the connection; the peer's remaining bytes can be read.
    ///
    /// # Errors
    /// `WouldBlock` if encrypted bytes must be sent first: call it again when the socket is writable.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.0.finish()?;
        }
        socket2::SockRef::from(self.socket()).shutdown(Shutdown::Write)
    }

    /// Waits until [`Self::try_read`] or [`Self::try_write`] may succeed, as requested. Also wakes for
    /// encrypted bytes that can be sent.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn ready(&mut self, interest: Interest) -> io::Result<Ready> {
        let mut interest = interest;
        if let Self::Tls(tls) = self {
            if interest.is_readable() && tls.0.unread() > 0 {
                return Ok(Ready::READABLE);
            }
            if tls.0.has_unsent() {
                interest |= Interest::WRITABLE;
            }
        }
        self.socket().ready(interest).await
    }

    /// Whether the underlying socket is writable.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    /// Completes the TLS handshake; returns at once without TLS.
    ///
    /// # Errors
    /// The peer does not use TLS, cannot be verified, or disconnects.
    pub async fn handshake(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => poll_fn(|cx| tls.0.poll_handshake(cx)).await,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(tls) => {
                let count = ready!(tls.0.poll_read(cx, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => tls.0.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => tls.0.poll_push(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => {
                match tls.0.finish() {
                    Err(error) if crate::session::would_block(&error) => ready!(tls.0.poll_push(cx))?,
                    done => done?,
                }
                Pin::new(&mut tls.0.socket).poll_shutdown(cx)
            }
        }
    }
}
