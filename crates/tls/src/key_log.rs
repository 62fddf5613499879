//! Logs the secrets of sessions to a file, so that Wireshark can decrypt recorded traffic. For development only: the file decrypts all of
//! it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustls::KeyLog;

/// Appends lines in the NSS key log format (`LABEL CLIENT_RANDOM SECRET`, hexadecimal), which Wireshark and others read.
pub(crate) struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens the file for appending; a new one is readable by its owner only.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(Self)
    }
}

impl fmt::Debug for KeyLogFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyLogFile")
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 3);
        line.push_str(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            push_hex(&mut line, bytes);
        }
        line.push('\n');
        // One write to a file opened for appending: lines of several threads do not mix. A full disk loses the line, but not the session.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
