//! The origins of pages whose scripts may connect: browsers send the page's origin (RFC 6454); other programs send none and
//! are not checked.

/// The allowed origins. Pages of the server itself are always among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    localhost: bool,
    extensions: bool,
    listed: Vec<Origin>,
}

/// Schemes of browser extensions' pages and workers.
const EXTENSIONS: [&str; 3] = ["chrome-extension", "moz-extension", "safari-web-extension"];

/// Scheme, host and port, as origins are compared (RFC 6454 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    /// `None` if it is not given and the scheme has no default.
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if scheme.is_empty() || !scheme.bytes().all(known) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = host_and_port(authority)?;
        Some(Self { port: port.or_else(|| default_port(&scheme)), scheme, host })
    }

    fn is_web(&self) -> bool {
        default_port(&self.scheme).is_some()
    }

    /// Whether it is the origin of the server's own pages. A proxy may terminate TLS, so the browser's scheme counts; a
    /// `Host` without port means the scheme's default.
    fn is_of(&self, host: &str) -> bool {
        host_and_port(host).is_some_and(|(host, port)| {
            self.is_web() && host == self.host && port.or_else(|| default_port(&self.scheme)) == self.port
        })
    }

    /// `localhost`, a loopback address, or a name below `localhost` (RFC 6761 §6.3), on any port.
    fn is_localhost(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.is_web()
            && (self.host == "localhost"
                || self.host.ends_with(".localhost")
                || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A host in lower case, and a port if there is one.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    let (host, port) = match authority[end..].find(':') {
        Some(at) => {
            let digits = &authority[end + at + 1..];
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            (&authority[..end + at], Some(digits.parse().ok().filter(|_| plain)?))
        }
        None => (authority, None),
    };
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\"'<>\\*".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(fits) && (end == 0 || end == host.len());
    is_host.then(|| (host.to_ascii_lowercase(), port))
}

impl Origins {
    /// Parses a comma-separated list of words and origins. An empty list is `localhost, extensions` in development and no
    /// other origin in production.
    ///
    /// # Errors
    /// Names the part that is neither a word nor an origin.
    pub fn parse(text: &str, production: bool) -> Result<Self, String> {
        if text.trim().is_empty() {
            let open = !production;
            return Ok(Self { localhost: open, extensions: open, ..Self::default() });
        }
        let mut origins = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part {
                "*" => origins.any = true,
                "localhost" => origins.localhost = true,
                "extensions" => origins.extensions = true,
                "self" | "none" => {}
                _ if part.contains('*') => {
                    return Err(format!(
                        "{part:?}: a * inside an origin matches nothing; list each origin, or * alone for all"
                    ));
                }
                other => origins.listed.push(Origin::parse(other).ok_or_else(|| {
                    format!(
                        "{other:?} is no origin such as https://app.example:8443 (no path, no slash at the end), nor *, self, localhost, extensions or none"
                    )
                })?),
            }
        }
        Ok(origins)
    }

    /// Whether scripts of a page of this origin may connect to this server, which they know as `host`.
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        if self.any {
            return true;
        }
        let Some(origin) = Origin::parse(origin) else { return false };
        host.is_some_and(|host| origin.is_of(host))
            || self.listed.contains(&origin)
            || (self.localhost && origin.is_localhost())
            || (self.extensions && EXTENSIONS.contains(&origin.scheme.as_str()))
    }
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
            ("https://bench.example:3001", true, true),
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
    fn a_page_of_the_server_itself_is_allowed_whatever_the_list() {
        let cases = [
            ("https://x", "x", true),
            ("https://x", "x:443", true),
            ("https://x:443", "x", true),
            ("https://X.Example", "x.eXample:443", true),
            ("http://x", "x:80", true),
            ("http://x:3001", "x:3001", true),
            ("https://[2001:db8::1]", "[2001:DB8::1]:443", true),
            ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443", true),
            ("http://x", "x:443", false),
            ("https://x", "x:80", false),
            ("https://x:8443", "x", false),
            ("https://x", "x:8443", false),
            ("https://y", "x", false),
            ("https://x.y", "x", false),
            ("chrome-extension://x", "x", false),
            ("https://x", "", false),
            ("https://x", "x:", false),
            ("https://x", "x:99999", false),
            ("https://x", "[x", false),
        ];
        for list in ["", "none", "https://app.example", "self"] {
            let origins = Origins::parse(list, true).unwrap();
            for (origin, host, allowed) in cases {
                assert_eq!(origins.allow(origin, Some(host)), allowed, "{origin} at {host}, list {list:?}");
            }
        }
    }

    #[test]
    fn lists_hold_words_and_origins_and_nothing_else() {
        let origins = Origins::parse("https://App.example , http://dev.example:80", true).unwrap();
        for allowed in ["https://app.EXAMPLE", "https://app.example:443", "http://dev.example"] {
            assert!(origins.allow(allowed, None), "{allowed}");
        }
        for other in
            ["http://app.example", "https://app.example:1", "https://dev.example", "http://dev.example:81"]
        {
            assert!(!origins.allow(other, None), "{other}");
        }
        assert!(!Origins::parse("none", false).unwrap().allow("http://localhost", None));
        assert!(Origins::parse("*", true).unwrap().allow("null", None));
        for wrong in [
            "app.example",
            "https://app.example/",
            "https://",
            "https://a b",
            "everybody",
            "https://*.app.example",
            "https://app.example:*",
            "*://app.example",
            "https://app.example:0x50",
            "https://app.example:99999",
        ] {
            let refused = Origins::parse(wrong, true).unwrap_err();
            assert_eq!(refused.contains("inside an origin"), wrong.contains('*'), "{wrong}: {refused}");
        }
    }
}
