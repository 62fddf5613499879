//! One TLS session on a non-blocking socket.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::net::TcpStream;

use crate::UNSENT_BYTES;

/// Maximum rounds of one call; each receives or sends bytes, so only a peer that never stops sending reaches it.
const ROUNDS: usize = 64;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) socket: TcpStream,
    tls: Connection,
    said_goodbye: bool,
}

/// The socket as rustls needs it: errors instead of waiting.
struct Sock<'a>(&'a TcpStream);

impl Read for Sock<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Sock<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

impl Session {
    pub(crate) fn new(socket: TcpStream, mut tls: Connection) -> Self {
        tls.set_buffer_limit(Some(UNSENT_BYTES));
        Self { socket, tls, said_goodbye: false }
    }

    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.tls.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Whether there are encrypted bytes that the socket has not accepted.
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Number of decrypted bytes that were not read.
    pub(crate) fn unread(&mut self) -> usize {
        self.tls.process_new_packets().map_or(0, |state| state.plaintext_bytes_to_read())
    }

    /// Sends encrypted bytes: all of them, or `WouldBlock`.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut Sock(&self.socket))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// `push` where a full socket does not matter, since it is called again.
    fn push_some(&mut self) -> io::Result<()> {
        match self.push() {
            Err(error) if !would_block(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// One read of the socket, decrypted.
    fn pull(&mut self) -> io::Result<()> {
        if self.tls.read_tls(&mut Sock(&self.socket))? == 0 && self.tls.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The alert tells the peer the reason; whether it arrives does not matter here.
            let _ = self.push_some();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        self.push_some()
    }

    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..ROUNDS {
            match self.tls.reader().read(buffer) {
                Err(error) if would_block(&error) => self.pull()?,
                read => return read,
            }
        }
        // Repeated records without content are not the traffic of a legitimate peer.
        Err(io::Error::new(ErrorKind::InvalidData, "too many TLS records without content"))
    }

    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        let taken = self.tls.writer().write_vectored(slices)?;
        self.push_some()?;
        Ok(taken)
    }

    /// Sends the end of our side, once; then everything must be flushed.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if !self.said_goodbye {
            self.said_goodbye = true;
            self.tls.send_close_notify();
        }
        self.push()
    }

    /// Waits until the socket has accepted everything.
    pub(crate) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.push() {
                Err(error) if would_block(&error) => ready!(self.socket.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if would_block(&error) => {
                    if self.has_unsent()
                        && let Poll::Ready(Err(error)) = self.poll_push(cx)
                    {
                        return Poll::Ready(Err(error));
                    }
                    ready!(self.socket.poll_read_ready(cx))?;
                }
                read => return Poll::Ready(read),
            }
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(slices) {
                Err(error) if would_block(&error) => ready!(self.socket.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    /// Waits until the handshake is complete.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_push(cx))?;
            if !self.tls.is_handshaking() {
                break;
            }
            match self.pull() {
                Err(error) if would_block(&error) => ready!(self.socket.poll_read_ready(cx))?,
                done => done?,
            }
        }
        self.poll_push(cx)
    }
}
