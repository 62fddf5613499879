//! The media types of evidence. The list is closed: it contains nothing that a browser would run.

/// A media type of evidence. It is stored as the extension of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `image/png`
    Png,
    /// `image/jpeg`
    Jpeg,
    /// `image/webp`
    Webp,
    /// `image/gif`
    Gif,
    /// `text/plain`
    Text,
    /// `application/json`
    Json,
    /// `application/octet-stream`
    Bytes,
    /// `video/webm`
    Webm,
    /// `video/mp4`
    Mp4,
}

impl MediaType {
    /// Every type.
    pub const ALL: [Self; 9] = [
        Self::Png,
        Self::Jpeg,
        Self::Webp,
        Self::Gif,
        Self::Text,
        Self::Json,
        Self::Bytes,
        Self::Webm,
        Self::Mp4,
    ];

    /// The value of `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Text => "text/plain",
            Self::Json => "application/json",
            Self::Bytes => "application/octet-stream",
            Self::Webm => "video/webm",
            Self::Mp4 => "video/mp4",
        }
    }

    /// Parses a `Content-Type`; parameters such as `charset` and case are ignored
    /// (RFC 9110 §8.3.1).
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.split(';').next().unwrap_or("").trim();
        Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether browsers display it as a picture or video, and never run it.
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Webp | Self::Gif | Self::Webm | Self::Mp4)
    }

    /// The extension of its file's name.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Text => "txt",
            Self::Json => "json",
            Self::Bytes => "bin",
            Self::Webm => "webm",
            Self::Mp4 => "mp4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter_and_what_could_run_is_not_taken() {
        assert_eq!(MediaType::parse("Text/Plain; charset=utf-8"), Some(MediaType::Text));
        for kind in MediaType::ALL {
            assert_eq!(MediaType::parse(kind.as_str()), Some(kind));
        }
        for refused in ["", "text/html", "image/svg+xml", "text/javascript", "image", "image/png2", "*/*"] {
            assert_eq!(MediaType::parse(refused), None, "{refused}");
        }
    }
}
