//! The validity and the names of a certificate. Parsed without verifying the signature.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::TlsError;

/// DER tags (X.690 §8) on the path to the validity (RFC 5280 §4.1).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// One certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// Not valid before this time.
    pub begins: SystemTime,
    /// Not valid after this time.
    pub ends: SystemTime,
}

impl Certificate {
    /// The first certificate of a PEM file: the server's own.
    ///
    /// # Errors
    /// [`TlsError::Read`], or [`TlsError::Pem`] if it contains no valid certificate.
    pub fn load(path: &Path) -> Result<Self, TlsError> {
        let pem = std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })?;
        let first = CertificateDer::pem_slice_iter(&pem).find_map(Result::ok);
        first
            .and_then(|der| Self::from_der(&der))
            .ok_or(TlsError::Pem { path: path.to_owned(), what: "certificate" })
    }

    /// A certificate from [`crate::Stream::peer_certificate`]; `None` if it cannot be parsed.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (begins, ends) = validity(der)?;
        Some(Self { der: CertificateDer::from(der.to_vec()), begins, ends })
    }

    /// Whether clients that connect to this name (or IP address) would accept it.
    pub fn is_for(&self, name: &str) -> bool {
        let (Ok(name), Ok(parsed)) = (ServerName::try_from(name), ParsedCertificate::try_from(&self.der))
        else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}

/// The content of the first element and the rest, if the element has the tag.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (content, rest) = any_element(bytes)?;
    (*bytes.first()? == tag).then_some((content, rest))
}

fn any_element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, mut rest) = bytes.get(1..)?.split_first()?;
    let mut length = usize::from(*first);
    if *first >= 0x80 {
        // Long form; no certificate needs more than four bytes of length.
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, after) = rest.split_at(count);
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    (rest.len() >= length).then(|| rest.split_at(length))
}

fn validity(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut signed, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(signed, VERSION) {
        signed = rest;
    }
    // Serial number, algorithm and issuer precede it.
    for _ in 0..3 {
        signed = any_element(signed)?.1;
    }
    let (times, _) = element(signed, SEQUENCE)?;
    let (begins, rest) = time(times)?;
    let (ends, _) = time(rest)?;
    Some((begins, ends))
}

fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = any_element(bytes)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, text) = match tag {
        UTC_TIME if text.len() == 12 => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        GENERALIZED_TIME if text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| text[at..at + 2].parse::<i64>().ok();
    let days = days_since_1970(year, part(0)?, part(2)?)?;
    let seconds = days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?;
    // A time before 1970 makes no difference for any certificate.
    Some((UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)), rest))
}

/// Days of a date in the Gregorian calendar, with March as the first month of the year, so that a leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    Some(shifted * 365 + leap_days + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
    }

    #[test]
    fn dates_are_counted_as_everybody_does() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(2000, 2, 29), Some(11_016));
        assert_eq!(days_since_1970(2000, 3, 1), Some(11_017));
        assert_eq!(days_since_1970(2026, 11, 24), Some(20_781));
        assert_eq!(days_since_1970(2026, 13, 1), None);
    }

    #[test]
    fn a_certificate_says_for_whom_and_until_when() {
        let certificate = Certificate::load(&key("first.pem")).unwrap();
        assert!(certificate.begins < certificate.ends);
        assert!(certificate.is_for("127.0.0.1") && !certificate.is_for("elsewhere.example"));
        assert!(!certificate.is_for("no name at all"));
        assert!(Certificate::load(&key("first.key")).is_err());
        assert!(Certificate::load(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = Certificate::load(&key("first.pem")).unwrap().der.to_vec();
        for cut in 0..whole.len().min(400) {
            let _ = Certificate::from_der(&whole[..cut]);
            let mut changed = whole.clone();
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                changed[cut] = value;
                let _ = Certificate::from_der(&changed).map(|certificate| certificate.is_for("localhost"));
            }
        }
    }
}
