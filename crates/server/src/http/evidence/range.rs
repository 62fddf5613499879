//! The two headers that speak of parts: `Content-Range` of an upload, `Range` of a download (RFC 9110 §14).

/// `bytes FIRST-LAST/TOTAL`: what part of a file a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// Its first byte.
    pub(crate) from: u64,
    /// Bytes in the part, at least one.
    pub(crate) length: u64,
    /// Bytes of the whole file.
    pub(crate) total: u64,
}

impl ContentRange {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (from, last, total) = (number(first)?, number(last)?, number(total)?);
        (from <= last && last < total).then(|| Self { from, length: last - from + 1, total })
    }
}

/// What a `Range` header asks for, of a file of a known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranged {
    /// The whole file: there is no range, or one that may be passed over (several, or another unit).
    Whole,
    /// These bytes, at least one.
    Bytes {
        /// The first one.
        from: u64,
        /// How many.
        length: u64,
    },
    /// Nothing that the file has.
    Unsatisfiable,
}

impl Ranged {
    pub(crate) fn of(header: Option<&str>, size: u64) -> Self {
        let Some(range) = header.and_then(|header| header.strip_prefix("bytes=")) else { return Self::Whole };
        let Some((first, last)) = range.split_once('-') else { return Self::Whole };
        match (first, number(first), number(last)) {
            // The last so many bytes.
            ("", _, Some(0)) => Self::Unsatisfiable,
            ("", _, Some(count)) if size > 0 => Self::bytes(size.saturating_sub(count), size - 1),
            ("", _, Some(_)) => Self::Unsatisfiable,
            (_, Some(from), _) if from >= size => Self::Unsatisfiable,
            (_, Some(from), None) if last.is_empty() => Self::bytes(from, size - 1),
            (_, Some(from), Some(to)) if from <= to => Self::bytes(from, to.min(size - 1)),
            _ => Self::Whole,
        }
    }

    fn bytes(from: u64, last: u64) -> Self {
        Self::Bytes { from, length: last - from + 1 }
    }
}

/// Digits only: Rust would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_upload() {
        assert_eq!(
            ContentRange::parse("bytes 10-19/20"),
            Some(ContentRange { from: 10, length: 10, total: 20 })
        );
        for wrong in
            ["", "bytes 0-20/20", "bytes 5-4/20", "bytes 0-0/*", "bytes */20", "bytes +0-1/20", "items 0-1/2"]
        {
            assert_eq!(ContentRange::parse(wrong), None, "{wrong}");
        }
        assert_eq!(ContentRange::parse("bytes 0-18446744073709551616/20"), None);
    }

    #[test]
    fn parts_of_a_download() {
        let bytes = |from, length| Ranged::Bytes { from, length };
        for (header, ranged) in [
            ("bytes=0-0", bytes(0, 1)),
            ("bytes=3-", bytes(3, 7)),
            ("bytes=3-99", bytes(3, 7)),
            ("bytes=-4", bytes(6, 4)),
            ("bytes=-40", bytes(0, 10)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=5-3", Ranged::Whole),
            ("bytes=0-1,4-5", Ranged::Whole),
            ("lines=0-1", Ranged::Whole),
            ("bytes=a-b", Ranged::Whole),
            ("bytes=", Ranged::Whole),
        ] {
            assert_eq!(Ranged::of(Some(header), 10), ranged, "{header}");
        }
        assert_eq!(Ranged::of(None, 10), Ranged::Whole);
        assert_eq!(Ranged::of(Some("bytes=-5"), 0), Ranged::Unsatisfiable);
        assert_eq!(Ranged::of(Some("bytes=0-"), 0), Ranged::Unsatisfiable);
    }
}
