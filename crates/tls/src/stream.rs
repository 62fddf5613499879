//! The socket that everybody above uses, whichever kind it is.

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
    /// As it comes from the kernel.
    Plain(TcpStream),
    /// With a TLS session on it; boxed, so that plain sockets stay small.
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

    /// The socket below, for its options and addresses. Bytes go through [`Stream`] only.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.0.socket,
        }
    }

    /// Whether a TLS session is on it.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The certificate that the peer has shown, DER; `None` without TLS, and of clients, which show none.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.0.peer_certificate(),
        }
    }

    /// Reads what is there. 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; `InvalidData` for bytes that are no TLS.
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

    /// Hands what is encrypted and not sent to the socket. Nothing to do without TLS.
    ///
    /// # Errors
    /// `WouldBlock` if the socket did not take all of it.
    #[inline]
    pub fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.0.push(),
        }
    }

    /// Ends our side of the connection; what the peer still sends can be read.
    ///
    /// # Errors
    /// `WouldBlock` if encrypted bytes have to go out first: call it again when the socket is writable.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.0.finish()?;
        }
        socket2::SockRef::from(self.socket()).shutdown(Shutdown::Write)
    }

    /// Waits until [`Self::try_read`] or [`Self::try_write`] may do something, whatever of it is asked for. Also wakes for
    /// encrypted bytes that can go out.
    ///
    /// # Errors
    /// If the socket is gone.
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

    /// Asks whether the socket below takes bytes.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    /// Completes the TLS handshake; done at once without TLS.
    ///
    /// # Errors
    /// If the peer speaks no TLS, is not whom it should be, or goes away.
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
