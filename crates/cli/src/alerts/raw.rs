//! A misbehaving client: it sends bad tokens, disconnects at once, sends malformed messages, and leaves messages incomplete.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::ensure;

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
        // The nonce is the example in RFC 6455; the answer to it is not verified.
        write!(
            stream,
            "GET /ws HTTP/1.1\r\nHost: selftest\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < 16 * 1024 && stream.read(&mut byte)? == 1, "no answer to an upgrade");
            head.push(byte[0]);
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
        // A length must have its shortest form (RFC 6455 §5.2).
        let mut head = vec![0x81];
        match size {
            0..=125 => head.push(0x80 | size as u8),
            126..=0xffff => {
                head.push(0x80 | 126);
                head.extend_from_slice(&(size as u16).to_be_bytes());
            }
            _ => {
                head.push(0x80 | 127);
                head.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        head.extend_from_slice(&[0; 4]);
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
