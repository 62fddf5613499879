//! When a certificate expires. rustls does not provide it, and the field is a few steps into the DER (X.509, RFC 5280 §4.1):
//! `Certificate { tbsCertificate { [0] version?, serialNumber, signature, issuer, validity { notBefore, notAfter }, … } … }`.

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` in ms since 1970; `None` if the bytes are not a certificate. A time before 1970 gives 0.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = element(certificate, Some(SEQUENCE))?;
    let (_, mut rest, _) = element(certificate, Some(SEQUENCE))?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, None)?.2;
    }
    for _ in ["serialNumber", "signature", "issuer"] {
        rest = element(rest, None)?.2;
    }
    let (_, validity, _) = element(rest, Some(SEQUENCE))?;
    let (_, _, end) = element(validity, None)?;
    let (kind, text, _) = element(end, None)?;
    time(kind, text)
}

/// Splits off one element: its tag, its content and the rest (X.690 §8.1).
fn element(bytes: &[u8], wanted: Option<u8>) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    wanted.is_none_or(|wanted| wanted == *tag).then_some((*tag, content, rest))
}

/// `YYMMDDhhmmssZ` with years 1950 to 2049, or `YYYYMMDDhhmmssZ` (RFC 5280 §4.1.2.5).
fn time(kind: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize| text.get(from..from + 2)?.parse::<u64>().ok();
    let (year, rest) = match (kind, text.len()) {
        (UTC_TIME, 12) => (number(0).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 14) => (number(0)? * 100 + number(2)?, 4),
        _ => return None,
    };
    let (month, day) = (number(rest)?, number(rest + 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = number(rest + 4)? * 3_600 + number(rest + 6)? * 60 + number(rest + 8)?;
    let days = days_since_1970(year as i64, month as i64, day as i64);
    Some(u64::try_from(days).map_or(0, |days| (days * 86_400 + seconds) * 1_000))
}

/// Days of the Gregorian calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March here, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn times_are_read() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"261124020304Z"), Some(1_795_485_784_000));
        assert_eq!(time(GENERALIZED_TIME, b"20500301000000Z"), Some(2_529_705_600_000));
        assert_eq!(time(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799_000));
        assert_eq!(time(UTC_TIME, b"600101000000Z"), Some(0));
        for wrong in [&b""[..], b"261124020304", b"26112402030xZ", b"261324020304Z", b"+61124020304Z"] {
            assert_eq!(time(UTC_TIME, wrong), None);
        }
    }

    #[test]
    fn a_real_certificate_tells_its_end() {
        let pem = include_bytes!("../tests/keys/first.pem");
        let certificate = CertificateDer::from_pem_slice(pem).unwrap();
        assert_eq!(not_after(&certificate), Some(4_949_074_750_000));
    }

    #[test]
    fn other_bytes_tell_nothing() {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("../tests/keys/first.pem")).unwrap();
        for length in 0..certificate.len() {
            // Cut anywhere it is no whole element any more.
            assert_eq!(not_after(&certificate[..length]), None);
        }
        for place in 0..certificate.len().min(200) {
            let mut damaged = certificate.to_vec();
            damaged[place] ^= 0xff;
            let _ = not_after(&damaged);
        }
    }
}
