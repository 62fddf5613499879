//! Request boundaries of a keep-alive HTTP connection (RFC 9112 §6), tracked in parallel to hyper, so that the rules for the
//! first head apply to all of them: hyper accepts a lone LF as a line end, and proxies differ in that.
//!
//! Bodies are skipped by their length. Ambiguous requests are left to the checks in `http::head`, which refuse them and
//! close the connection; tracking ends there.

use agentbench_websocket::handshake::{HandshakeError, Request};

/// Bytes of a chunk's size line or a trailer line; hyper refuses longer ones.
const MAX_LINE: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// Bytes outside of heads: of a body, or of a chunk with its line end.
    Skip {
        left: u64,
        then: Next,
    },
    ChunkSize,
    Trailer,
    /// Tracking has ended.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    ChunkSize,
}

/// Tracks the requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    state: State,
    /// The incomplete head or line.
    pending: Vec<u8>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { state: State::Head, pending: Vec::new() }
    }

    /// Processes the next bytes.
    ///
    /// # Errors
    /// A head exceeds the limits, or has lines that do not end in CR LF.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), HandshakeError> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Lost => return Ok(()),
                State::Head => self.take_head(bytes)?,
                State::Skip { left, then } => self.skip(bytes, left, then),
                State::ChunkSize | State::Trailer => self.take_line(bytes),
            };
        }
        Ok(())
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, then: Next) -> &'a [u8] {
        let count = left.min(bytes.len() as u64);
        self.state = match (left - count, then) {
            (0, Next::Head) => State::Head,
            (0, Next::ChunkSize) => State::ChunkSize,
            (left, then) => State::Skip { left, then },
        };
        &bytes[count as usize..]
    }

    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], HandshakeError> {
        let before = self.pending.len();
        self.pending.extend_from_slice(bytes);
        let Some(request) = Request::parse(&self.pending)? else { return Ok(&[]) };
        let size = request.size;
        self.state = after(&request);
        self.pending.clear();
        // The head was incomplete before, so it ends in these bytes.
        Ok(&bytes[size - before..])
    }

    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.pending.extend_from_slice(line);
        if self.pending.len() > MAX_LINE {
            self.lose();
        } else if end.is_some() {
            self.state = if self.state == State::Trailer { self.after_trailer() } else { self.after_size() };
            self.pending.clear();
        }
        rest
    }

    fn after_trailer(&self) -> State {
        if self.pending.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            State::Head
        } else {
            State::Trailer
        }
    }

    fn after_size(&self) -> State {
        let digits = self.pending.split(|byte| matches!(byte, b';' | b'\r' | b'\n')).next().unwrap_or(&[]);
        let digits = std::str::from_utf8(digits).unwrap_or("").trim();
        match u64::from_str_radix(digits, 16).ok().and_then(|size| size.checked_add(2)) {
            Some(2) => State::Trailer,
            Some(left) => State::Skip { left, then: Next::ChunkSize },
            None => State::Lost,
        }
    }

    fn lose(&mut self) {
        self.state = State::Lost;
        self.pending = Vec::new();
    }
}

/// The state after a head.
fn after(request: &Request<'_>) -> State {
    if request.method == "CONNECT" {
        return State::Lost;
    }
    match (request.single("Transfer-Encoding"), request.single("Content-Length")) {
        (Ok(None), Ok(None)) => State::Head,
        (Ok(None), Ok(Some(length))) => match length.parse() {
            Ok(0) => State::Head,
            Ok(left) => State::Skip { left, then: Next::Head },
            Err(_) => State::Lost,
        },
        (Ok(Some(coding)), Ok(None)) if coding.eq_ignore_ascii_case("chunked") => State::ChunkSize,
        _ => State::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: [&str; 6] = [
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\na\nb\n\n\nc",
        "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n\n\n\n\r\n00\r\nT: u\r\n\r\n",
        "POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "\r\nGET /f HTTP/1.1\r\nHost: x\r\n\r\n",
    ];

    /// Every way to cut the bytes in two, and one byte after the other.
    fn for_each_cut(bytes: &[u8], check: impl Fn(Result<(), HandshakeError>, &str)) {
        for at in 0..=bytes.len() {
            let mut requests = Requests::new();
            let (one, two) = bytes.split_at(at);
            check(requests.take(one).and_then(|()| requests.take(two)), &format!("cut at {at}"));
        }
        let mut requests = Requests::new();
        check(bytes.iter().try_for_each(|byte| requests.take(&[*byte])), "byte by byte");
    }

    #[test]
    fn requests_are_followed_over_bodies_of_every_kind() {
        for_each_cut(REQUESTS.concat().as_bytes(), |taken, cut| assert_eq!(taken, Ok(()), "{cut}"));
        let mut requests = Requests::new();
        requests.take(REQUESTS.concat().as_bytes()).unwrap();
        assert_eq!((requests.state, requests.pending.len()), (State::Head, 0));
    }

    #[test]
    fn a_lone_lf_in_any_head_is_found_behind_every_body() {
        for before in REQUESTS {
            for bad in
                ["GET /g HTTP/1.1\nHost: x\r\n\r\n", "GET /g HTTP/1.1\r\nHost: x\n\n", "nonsense\r\n\r\n"]
            {
                let bytes = format!("{before}{bad}");
                for_each_cut(bytes.as_bytes(), |taken, cut| assert!(taken.is_err(), "{bytes:?} {cut}"));
            }
        }
    }

    #[test]
    fn what_is_ambiguous_is_left_to_others() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: x",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
        ] {
            let mut requests = Requests::new();
            requests.take(format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(requests.state, State::Lost, "{lines}");
            assert_eq!(requests.take(b"GET / HTTP/1.1\n\n"), Ok(()));
        }
    }
}
