//! POST requests over one connection, opened anew where the server closes it: what a backend does that publishes over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer; longer ones are no answer to a publish.
const LONGEST: usize = 64 * 1024;

/// A connection for requests.
pub(crate) struct Poster {
    /// None before the first request, and after an answer that ended the connection.
    stream: Option<TcpStream>,
    address: SocketAddr,
    answer: Vec<u8>,
}

/// The head of an answer, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: u16,
    closes: bool,
}

impl Poster {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { stream: None, address, answer: Vec::new() }
    }

    /// Sends a request and waits for the answer, which must be a success. `headers` are whole lines.
    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<()> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        let exchanged = self.exchange([head.as_bytes(), body].concat());
        tokio::time::timeout(PATIENCE, exchanged).await.context("the server did not answer")?
    }

    async fn exchange(&mut self, request: Vec<u8>) -> anyhow::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.context("cannot connect")?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(&request).await?;
        self.answer.clear();
        loop {
            if let Some(answer) = parse(&self.answer)? {
                let text = String::from_utf8_lossy(&self.answer);
                ensure!((200..300).contains(&answer.status), "the server refused: {text}");
                self.stream = (!answer.closes).then_some(stream);
                return Ok(());
            }
            ensure!(self.answer.len() < LONGEST, "the answer is longer than {LONGEST} bytes");
            if stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the server ended the connection");
            }
        }
    }
}

/// The head of an answer, once all of it is there.
fn parse(answer: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).context("the answer's head is not text")?;
    let body = &answer[end + 4..];
    let status =
        head.split("\r\n").next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status: u16 = status.context("this is not an answer of HTTP/1.1")?;
    let header = |name: &str| {
        let mut headers = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let is_whole = match header("content-length") {
        Some(length) => body.len() >= length.parse().context("Content-Length is not a number")?,
        None if header("transfer-encoding").is_some() => body.ends_with(b"0\r\n\r\n"),
        None => status == 204,
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(is_whole.then_some(Answer { status, closes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for length in 0..answer.len() {
            assert_eq!(parse(&answer[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(parse(answer).unwrap(), Some(Answer { status: 200, closes: false }));
        let last = parse(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(last, Some(Answer { status: 204, closes: true }));
        let chunked = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert_eq!(parse(&chunked[..chunked.len() - 3]).unwrap(), None);
        assert_eq!(parse(chunked).unwrap(), Some(Answer { status: 202, closes: false }));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        parse(b"220 mail\r\n\r\n").unwrap_err();
        parse(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n").unwrap_err();
    }
}
