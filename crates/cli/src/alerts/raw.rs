//! A misbehaving client: it sends bad tokens, disconnects at once, sends malformed messages, and leaves messages incomplete.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use agentbench_websocket::handshake::{Offer, Opening, OpeningError};
use agentbench_websocket::{Opcode, encode_header};
use anyhow::ensure;
use bytes::BytesMut;

/// Time limit for any answer from a server on the same machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// An upgraded socket.
pub(super) struct Raw(TcpStream);

impl Raw {
    /// Requests an upgrade with a token, valid or not, and reads the head of the answer. A bad token is refused after it.
    pub(super) fn open(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let offer =
            Offer { host: "selftest", target: "/ws", protocols: &[], deflate: None, headers: &headers };
        let mut request = BytesMut::new();
        let mut opening = Opening::new(&mut request, &offer, *b"a constant nonce");
        stream.write_all(&request)?;
        let mut piece = [0; 1024];
        loop {
            let count = stream.read(&mut piece)?;
            ensure!(count > 0, opening.end());
            match opening.feed(&piece[..count]) {
                Ok(None) => {}
                Ok(Some(_)) | Err(OpeningError::Refused(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(stream))
    }

    /// Sends a text message with any content.
    pub(super) fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.begin(text.len())?;
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// Starts a message of `size` bytes. The mask is zero, since no intermediary needs protection here.
    fn begin(&mut self, size: usize) -> anyhow::Result<()> {
        let head = encode_header(Opcode::Text, false, size, Some([0; 4]));
        Ok(self.0.write_all(&head)?)
    }

    /// Sends all of a message but its last byte.
    pub(super) fn send_incomplete(&mut self, size: usize) -> anyhow::Result<()> {
        self.begin(size)?;
        let piece = [b' '; 64 * 1024];
        let mut left = size - 1;
        while left > 0 {
            let count = left.min(piece.len());
            self.0.write_all(&piece[..count])?;
            left -= count;
        }
        Ok(())
    }
}
