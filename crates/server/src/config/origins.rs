//! Which pages' scripts may connect: browsers name the page's origin (RFC 6454), other programs send none and are not asked.

/// The allowed origins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    own: bool,
    localhost: bool,
    extensions: bool,
    listed: Vec<String>,
}

/// Schemes of browser extensions' pages and workers.
const EXTENSIONS: [&str; 3] = ["chrome-extension://", "moz-extension://", "safari-web-extension://"];

impl Origins {
    /// Reads a list of words and origins, with commas between them. Nothing at all is `self, localhost, extensions` in
    /// development and nobody in production.
    ///
    /// # Errors
    /// Says which part is neither a word nor an origin.
    pub fn parse(text: &str, production: bool) -> Result<Self, String> {
        if text.trim().is_empty() {
            let open = !production;
            return Ok(Self { own: open, localhost: open, extensions: open, ..Self::default() });
        }
        let mut origins = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part {
                "*" => origins.any = true,
                "self" => origins.own = true,
                "localhost" => origins.localhost = true,
                "extensions" => origins.extensions = true,
                "none" => {}
                origin if is_origin(origin) => origins.listed.push(origin.to_ascii_lowercase()),
                other => {
                    return Err(format!(
                        "{other:?} is no origin such as https://app.example:8443 (no path, no slash at the end), nor *, self, localhost, extensions or none"
                    ));
                }
            }
        }
        Ok(origins)
    }

    /// Whether scripts of a page of this origin may connect to this server, which they know as `host`.
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        self.any
            || self.listed.contains(&origin)
            || (self.own && is_web(&origin) && host.is_some_and(|host| host.eq_ignore_ascii_case(authority)))
            || (self.localhost && is_web(&origin) && is_localhost(authority))
            || (self.extensions && EXTENSIONS.iter().any(|scheme| origin.starts_with(scheme)))
    }
}

fn is_web(origin: &str) -> bool {
    origin.starts_with("http://") || origin.starts_with("https://")
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !authority.is_empty()
        && authority.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\"'<>\\".contains(&byte))
}

/// `localhost`, a loopback address, or a name below `localhost` (RFC 6761 §6.3), with or without a port.
fn is_localhost(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_differ_between_development_and_production() {
        let cases = [
            ("http://localhost:5173", true, false),
            ("http://127.0.0.1", true, false),
            ("http://[::1]:80", true, false),
            ("http://app.localhost", true, false),
            ("https://bench.example:3001", true, false),
            ("chrome-extension://abcdef", true, false),
            ("https://evil.example", false, false),
            ("http://localhost.evil.example", false, false),
            ("http://127.0.0.1.evil.example", false, false),
            ("null", false, false),
            ("file://", false, false),
            ("", false, false),
        ];
        let [development, production] = [false, true].map(|it| Origins::parse("", it).unwrap());
        for (origin, in_development, in_production) in cases {
            let host = Some("bench.example:3001");
            assert_eq!(development.allow(origin, host), in_development, "{origin}");
            assert_eq!(production.allow(origin, host), in_production, "{origin}");
        }
        assert!(!development.allow("https://bench.example", None));
    }

    #[test]
    fn lists_hold_words_and_origins_and_nothing_else() {
        let origins = Origins::parse("https://App.example , self", true).unwrap();
        assert!(origins.allow("https://app.EXAMPLE", None) && origins.allow("http://h", Some("h")));
        assert!(!origins.allow("http://app.example", None) && !origins.allow("https://app.example:1", None));
        assert!(!Origins::parse("none", false).unwrap().allow("http://localhost", None));
        assert!(Origins::parse("*", true).unwrap().allow("null", None));
        for wrong in ["app.example", "https://app.example/", "https://", "https://a b", "everybody"] {
            assert!(Origins::parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
