//! Writes and reads the file of one archived log.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use agentbench_event_log::{Frame, LogError};
use agentbench_protocol::Seq;

use super::format::{self, Block, FOOTER, Footer, HEADER, Header};
use super::search;
use crate::config::{ArchiveConfig, unavailable};
use crate::private;

/// Writes a file, frame by frame.
pub(crate) struct FileWriter {
    to: BufWriter<File>,
    offset: u64,
    raw: Vec<u8>,
    first_in_raw: Option<Seq>,
    last_seq: Seq,
    blocks: Vec<Block>,
    compressor: zstd::bulk::Compressor<'static>,
    block_bytes: usize,
}

impl FileWriter {
    pub(crate) fn create(path: &Path, header: &Header, config: &ArchiveConfig) -> std::io::Result<Self> {
        let mut to = BufWriter::new(private::options().write(true).create(true).truncate(true).open(path)?);
        let header = header.encode();
        to.write_all(&header)?;
        let mut compressor = zstd::bulk::Compressor::new(config.level)?;
        // A block is trusted by it if the index is damaged.
        compressor.include_checksum(true)?;
        Ok(Self {
            to,
            offset: header.len() as u64,
            raw: Vec::with_capacity(config.block_bytes + config.block_bytes / 4),
            first_in_raw: None,
            last_seq: 0,
            blocks: Vec::new(),
            compressor,
            block_bytes: config.block_bytes,
        })
    }

    pub(crate) fn push(&mut self, frame: &Frame) -> std::io::Result<()> {
        self.first_in_raw.get_or_insert(frame.first_seq());
        self.last_seq = frame.last_seq();
        format::put_frame(&mut self.raw, frame);
        if self.raw.len() >= self.block_bytes { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> std::io::Result<()> {
        let Some(first_seq) = self.first_in_raw.take() else { return Ok(()) };
        let stored = self.compressor.compress(&self.raw)?;
        let too_large = |_| std::io::Error::other("a block is larger than 4 GiB");
        self.blocks.push(Block {
            first_seq,
            last_seq: self.last_seq,
            offset: self.offset,
            length: u32::try_from(stored.len()).map_err(too_large)?,
            raw_length: u32::try_from(self.raw.len()).map_err(too_large)?,
            crc: crc32c::crc32c(&stored),
        });
        self.to.write_all(&stored)?;
        self.offset += stored.len() as u64;
        self.raw.clear();
        Ok(())
    }

    /// Completes the file and makes it durable. Returns its size.
    pub(crate) fn finish(mut self) -> std::io::Result<u64> {
        self.end_block()?;
        let index = format::encode_index(&self.blocks, self.offset);
        self.to.write_all(&index)?;
        let file = self.to.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.offset + index.len() as u64)
    }
}

/// Reads the header of a file.
pub(crate) fn read_header(path: &Path) -> Result<Header, String> {
    header_of(&File::open(path).map_err(|error| error.to_string())?)
}

fn header_of(file: &File) -> Result<Header, String> {
    let mut fixed = [0; HEADER];
    file.read_exact_at(&mut fixed, 0).map_err(|error| error.to_string())?;
    let len = Header::encoded_len(&fixed)?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if len as u64 > size {
        return Err("the header is cut short".into());
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).map_err(|error| error.to_string())?;
    Ok(Header::decode(&bytes)?)
}

/// An open file with its index, and the last block read.
pub(crate) struct FileReader {
    file: File,
    blocks: Vec<Block>,
    last: Mutex<Option<(usize, Vec<Frame>)>>,
}

impl FileReader {
    /// Opens a file and checks that its index matches `header`. The error describes the damage.
    pub(crate) fn open(path: &Path, header: &Header) -> Result<Self, LogError> {
        let damaged = |detail: &str| LogError::Damaged {
            from: header.first_seq,
            to: header.last_seq,
            detail: detail.to_owned(),
        };
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => damaged("the archive file is missing"),
            _ => unavailable(error),
        })?;
        let blocks = match read_index(&file).map_err(unavailable)? {
            Ok(blocks) if covers(&blocks, header) => blocks,
            read => {
                let why = read.err().unwrap_or("the file contains other events than the catalogue says");
                let found = search::find_blocks(&file, header).map_err(unavailable)?;
                tracing::warn!(path = %path.display(), why, "the index of an archived log is damaged; its blocks were searched for");
                found.ok_or_else(|| damaged(why))?
            }
        };
        // Frames do not say whose they are. A damaged header proves nothing: what it says is in the catalogue, too.
        let is_another = header_of(&file)
            .is_ok_and(|found| (found.session, found.epoch) != (header.session, header.epoch));
        if is_another {
            return Err(damaged("the file is that of another log"));
        }
        Ok(Self { file, blocks, last: Mutex::new(None) })
    }

    /// Index of the block that contains `seq`, if there is one.
    pub(crate) fn find(&self, seq: Seq) -> Option<usize> {
        let at = self.blocks.partition_point(|block| block.last_seq < seq);
        (at < self.blocks.len()).then_some(at)
    }

    /// The frames of a block, if there is one with this index.
    pub(crate) fn block(&self, at: usize) -> Option<Result<Vec<Frame>, LogError>> {
        let block = self.blocks.get(at)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frames)) = last.as_ref().filter(|(index, _)| *index == at) {
            return Some(Ok(frames.clone()));
        }
        let read = self.read_block(block);
        if let Ok(frames) = &read {
            *last = Some((at, frames.clone()));
        }
        Some(read)
    }

    /// Reads a block and checks it. Returns its first and last seq and its bytes, or what is wrong with it.
    pub(crate) fn verify(&self, at: usize) -> Option<(Seq, Seq, Result<u64, String>)> {
        let block = self.blocks.get(at)?;
        let read = self.read_block(block).map(|_| u64::from(block.length)).map_err(|error| error.to_string());
        Some((block.first_seq, block.last_seq, read))
    }

    fn read_block(&self, block: &Block) -> Result<Vec<Frame>, LogError> {
        let mut stored = vec![0; block.length as usize];
        let damaged =
            |detail: String| LogError::Damaged { from: block.first_seq, to: block.last_seq, detail };
        self.file.read_exact_at(&mut stored, block.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged("the archive file is cut short".into()),
            // An unreadable sector stays unreadable, but other blocks may be readable.
            _ => damaged(error.to_string()),
        })?;
        format::decode_block(block, &stored).map_err(damaged)
    }
}

/// The index of a file, or what is wrong with it.
fn read_index(file: &File) -> std::io::Result<Result<Vec<Block>, &'static str>> {
    let size = file.metadata()?.len();
    let Some(footer_at) = size.checked_sub(FOOTER as u64) else { return Ok(Err("the file is cut short")) };
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, footer_at)?;
    let footer = match Footer::decode(&footer) {
        Ok(footer) => footer,
        Err(why) => return Ok(Err(why)),
    };
    if footer.index_offset.checked_add(footer.index_length as u64) != Some(footer_at) {
        return Ok(Err("the index is not where it should be"));
    }
    let mut index = vec![0; footer.index_length];
    file.read_exact_at(&mut index, footer.index_offset)?;
    Ok(footer.decode_index(&index))
}

/// Whether the blocks are contiguous, from the frame that contains the header's first seq to its last one.
fn covers(blocks: &[Block], header: &Header) -> bool {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
        return header.first_seq == header.last_seq + 1;
    };
    first.first_seq <= header.first_seq
        && last.last_seq == header.last_seq
        && blocks.iter().all(|block| block.first_seq <= block.last_seq)
        && blocks.windows(2).all(|pair| pair[1].first_seq == pair[0].last_seq + 1)
}
