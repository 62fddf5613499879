//! The socket a reader writes to; in tests of both ends on one thread, a pipe in memory.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use agentbench_tls::Stream;
use tokio::io::{AsyncRead, ReadBuf};

/// See the module.
pub(crate) enum Socket {
    Stream(Stream),
    #[cfg(any(test, feature = "simulation"))]
    Pipe(pipe::Pipe),
}

impl Socket {
    /// Writes as much as fits. With TLS, written bytes may be encrypted and waiting for [`Self::push`].
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    #[inline]
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.try_write(bytes),
            #[cfg(any(test, feature = "simulation"))]
            Self::Pipe(pipe) => pipe.write(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes as much of several slices as fits.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.try_write_vectored(slices),
            #[cfg(any(test, feature = "simulation"))]
            Self::Pipe(pipe) => pipe.write(slices),
        }
    }

    /// Writes bytes that TLS has encrypted and not yet written to the socket.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.push(),
            #[cfg(any(test, feature = "simulation"))]
            Self::Pipe(_) => Ok(()),
        }
    }

    /// Shuts down the server's side of the connection.
    ///
    /// # Errors
    /// `WouldBlock` if encrypted bytes have to be written first.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.finish(),
            #[cfg(any(test, feature = "simulation"))]
            Self::Pipe(_) => Ok(()),
        }
    }

    /// Reads available bytes; an empty read is the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(any(test, feature = "simulation"))]
            Self::Pipe(_) => Poll::Pending,
        }
    }

    /// Whether a blocked write may be retried.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => stream.poll_write_ready(cx),
            #[cfg(any(test, feature = "simulation"))]
            Self::Pipe(_) => Poll::Pending,
        }
    }
}

#[cfg(any(test, feature = "simulation"))]
pub(crate) mod pipe {
    //! A socket in memory that accepts as many bytes as the test makes room for.

    use std::cell::{Cell, RefCell};
    use std::io::{self, IoSlice};
    use std::rc::Rc;

    #[derive(Default)]
    struct State {
        taken: RefCell<Vec<u8>>,
        room: Cell<usize>,
    }

    /// Both ends: clones are the same pipe.
    #[derive(Clone, Default)]
    pub(crate) struct Pipe(Rc<State>);

    impl Pipe {
        /// Accepts at most `bytes` from now on.
        pub(crate) fn make_room(&self, bytes: usize) {
            self.0.room.set(bytes);
        }

        /// The bytes written since the last call.
        pub(crate) fn read(&self) -> Vec<u8> {
            self.0.taken.take()
        }

        pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let room = self.0.room.get();
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut left = room;
            for slice in slices {
                let count = slice.len().min(left);
                self.0.taken.borrow_mut().extend_from_slice(&slice[..count]);
                left -= count;
            }
            self.0.room.set(left);
            Ok(room - left)
        }
    }
}
