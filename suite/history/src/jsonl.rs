//! A client's history as a file: one JSON object per line.

use std::io::{self, BufRead, Write};

use crate::record::{ClientHistory, Record};

/// Why a file is not a valid history.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is not a valid record.
    #[error("line {line}: {error}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// Writes the records.
///
/// # Errors
/// Writing fails.
pub fn write(history: &ClientHistory, mut out: impl Write) -> io::Result<()> {
    for record in &history.records {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads the records of a client.
///
/// # Errors
/// The file is not a valid history.
pub fn read(client: impl Into<String>, input: impl BufRead) -> Result<ClientHistory, ReadError> {
    let mut records: Vec<Record> = Vec::new();
    for (index, line) in input.lines().enumerate() {
        let line = line?;
        let record =
            serde_json::from_str(&line).map_err(|error| ReadError::Line { line: index + 1, error })?;
        records.push(record);
    }
    Ok(ClientHistory { client: client.into(), records })
}

#[cfg(test)]
mod tests {
    use agentbench_protocol::{Epoch, GapCause, SessionId};

    use super::*;
    use crate::record::{Content, Operation, StopReason};

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let message = || Box::from("m-1");
        let epoch = Epoch::from_u64(7);
        let operations = [
            Operation::Invoke { message: message(), digest: 9 },
            Operation::Ok { message: message(), seq: 2, epoch: Some(epoch), duplicate: true },
            Operation::Ok { message: message(), seq: 2, epoch: None, duplicate: false },
            Operation::Fail { message: message(), why: "overloaded".into() },
            Operation::Unknown { message: message(), why: "no ack in time".into() },
            Operation::Read { epoch, after: 0 },
            Operation::Delivery { seq: 1, message: message(), content: Content::Lifecycle },
            Operation::Delivery { seq: 2, message: message(), content: Content::Event(9) },
            Operation::Dropped { count: 1 },
            Operation::Gap { from: 3, to: 4, cause: GapCause::Expired },
            Operation::Stop { why: StopReason::CaughtUp },
            Operation::FinalRead { epoch },
        ];
        let session = SessionId::from_u128(1);
        let records = operations.into_iter().map(|operation| Record { at: 5, session, operation }).collect();
        let history = ClientHistory { client: "c".into(), records };
        let mut file = Vec::new();
        write(&history, &mut file).unwrap();
        assert_eq!(read("c", &file[..]).unwrap(), history);
        let first = std::str::from_utf8(&file).unwrap().lines().next().unwrap();
        assert_eq!(
            first,
            r#"{"at":5,"session":"00000000-0000-0000-0000-000000000001","op":"invoke","message":"m-1","digest":9}"#
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = read("c", &b"{\"at\":1}\n"[..]).unwrap_err();
        assert!(error.to_string().starts_with("line 1: "), "{error}");
    }
}
