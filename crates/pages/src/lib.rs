//! The dashboard as embedded in the binary: each file of its build with a gzip form, a media type and an ETag.
//!
//! `build/main.rs` embeds `web/dashboard/dist` if it exists. Otherwise [`Pages::built`] is empty; a server then explains how
//! to get the pages. Nothing is read from the disk while the server runs.

/// One file of the dashboard's build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// The path that browsers request, `/index.html`.
    pub path: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
    /// Its bytes as gzip (RFC 1952), if that is smaller.
    pub gzip: Option<&'static [u8]>,
    /// 32 hexadecimal digits that change with its bytes.
    pub etag: &'static str,
}

impl Asset {
    /// Its media type, by the extension of its name.
    pub fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "html" => "text/html; charset=utf-8",
            "js" | "mjs" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "json" | "map" => "application/json",
            "svg" => "image/svg+xml",
            "png" => "image/png",
            "ico" => "image/vnd.microsoft.icon",
            "woff2" => "font/woff2",
            "txt" => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }

    /// Whether its name contains a hash, so that its content never changes.
    pub fn is_immutable(&self) -> bool {
        self.path.starts_with("/assets/")
    }
}

/// A build of the dashboard, or none.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    assets: &'static [Asset],
}

impl Pages {
    /// The build that existed when this binary was compiled.
    pub const fn built() -> Self {
        Self { assets: BUILT }
    }

    /// No pages.
    pub const fn none() -> Self {
        Self { assets: &[] }
    }

    /// A small build for tests.
    #[cfg(any(test, feature = "fixture"))]
    pub const fn fixture() -> Self {
        Self { assets: FIXTURE }
    }

    /// The start page; `None` if there is no build.
    pub fn index(&self) -> Option<&'static Asset> {
        self.find("/index.html")
    }

    /// A file that browsers may request.
    pub fn find(&self, path: &str) -> Option<&'static Asset> {
        // The table is sorted by path.
        let at = self.assets.binary_search_by(|asset| asset.path.cmp(path)).ok()?;
        self.assets.get(at)
    }

    /// The parts before and after the data in the page of an exported session; `None` if there is no build, or
    /// its template has no or several placeholders for the data.
    pub fn export_template(&self) -> Option<(&'static str, &'static str)> {
        let text = std::str::from_utf8(self.find("/export.html")?.bytes).ok()?;
        let (before, after) = text.split_once(EXPORT_PLACE)?;
        (!after.contains(EXPORT_PLACE)).then_some((before, after))
    }
}

/// Placeholder of the exported data.
pub const EXPORT_PLACE: &str = "/*AGENTBENCH-EXPORT*/";

const BUILT: &[Asset] = include!(concat!(env!("OUT_DIR"), "/built.rs"));
#[cfg(any(test, feature = "fixture"))]
const FIXTURE: &[Asset] = include!(concat!(env!("OUT_DIR"), "/fixture.rs"));

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_build_is_found_by_path_and_nothing_else_is() {
        let pages = Pages::fixture();
        assert_eq!(pages.index().unwrap().content_type(), "text/html; charset=utf-8");
        let script = pages.find("/assets/main-0a1b2c3d.js").unwrap();
        assert!(script.is_immutable() && script.content_type().starts_with("text/javascript"));
        assert!(!pages.index().unwrap().is_immutable());
        for path in ["", "/", "index.html", "/assets", "/assets/", "/../index.html", "/assets/../index.html"]
        {
            assert_eq!(pages.find(path), None, "{path}");
        }
        assert!(Pages::none().index().is_none() && Pages::none().export_template().is_none());
    }

    #[test]
    fn small_forms_are_the_same_files_and_tags_differ() {
        let mut tags: Vec<_> = FIXTURE.iter().map(|asset| asset.etag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), FIXTURE.len());
        let mut compressed = 0;
        for asset in FIXTURE {
            let Some(gzip) = asset.gzip else { continue };
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, asset.bytes, "{}", asset.path);
            compressed += 1;
        }
        assert!(compressed > 0, "the script of the fixture is compressed");
    }

    #[test]
    fn the_template_has_one_place_for_the_data() {
        let (before, after) = Pages::fixture().export_template().unwrap();
        assert!(before.ends_with(r#"<script type="application/json" id="agentbench-export">"#), "{before}");
        assert!(after.starts_with("</script>"), "{after}");
    }

    #[test]
    fn the_real_build_is_whole_if_it_is_there() {
        assert!(BUILT.is_sorted_by_key(|asset| asset.path) && FIXTURE.is_sorted_by_key(|asset| asset.path));
        if let Some(index) = Pages::built().index() {
            assert!(Pages::built().export_template().is_some(), "export.html has its place for the data");
            assert!(!index.bytes.is_empty());
        }
    }
}
