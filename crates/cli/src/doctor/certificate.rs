//! Certificates: how long they remain valid, for which name, and whether the key matches.

use std::path::Path;
use std::time::{Duration, SystemTime};

use agentbench_server::config::TlsFiles;
use agentbench_tls::{Acceptor, Certificate};

use super::{Check, Verdict};

const DAY: u64 = 86_400;
/// Days before its end at which a certificate should have been renewed.
const RENEWED_BEFORE: u64 = 14;

/// Checks a certificate file.
pub(super) fn of_file(path: &Path, name: Option<&str>) -> Check {
    match Certificate::load(path) {
        Ok(certificate) => judge("certificate", &certificate, name, SystemTime::now()),
        Err(error) => {
            Check::of("certificate", Verdict::Bad, error.to_string(), "TLS_CERT must be a PEM file")
        }
    }
}

/// Checks that the certificate and key in the settings match.
pub(super) fn pair(files: &TlsFiles) -> Check {
    match Acceptor::load(&files.certificate, &files.key) {
        Ok(_) => Check::good("certificate_key", "TLS_KEY matches the certificate"),
        Err(error) => Check::of(
            "certificate_key",
            Verdict::Bad,
            error.to_string(),
            "the server will not start: TLS_CERT and TLS_KEY must be a pair",
        ),
    }
}

pub(super) fn judge(
    check: &'static str,
    certificate: &Certificate,
    name: Option<&str>,
    now: SystemTime,
) -> Check {
    let renew = "renew it; the server loads the new files within two seconds";
    if certificate.begins > now {
        let ahead = days(certificate.begins.duration_since(now).unwrap_or_default());
        return Check::of(
            check,
            Verdict::Bad,
            format!("is not valid for another {ahead} days"),
            "check the clock",
        );
    }
    let Ok(left) = certificate.ends.duration_since(now) else {
        let over = days(now.duration_since(certificate.ends).unwrap_or_default());
        return Check::of(check, Verdict::Bad, format!("expired {over} days ago"), renew);
    };
    if let Some(name) = name.filter(|name| !certificate.is_for(name)) {
        let advice = "clients will refuse it: it must include the name they connect to (subjectAltName)";
        return Check::of(check, Verdict::Bad, format!("is not valid for {name}"), advice);
    }
    let left = days(left);
    let verdict = if left < RENEWED_BEFORE { Verdict::Warn } else { Verdict::Good };
    let named = name.map_or_else(String::new, |name| format!(", for {name}"));
    Check::of(check, verdict, format!("valid for {left} more days{named}"), renew)
}

fn days(time: Duration) -> u64 {
    time.as_secs() / DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_and_the_name_are_judged() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys/first.pem");
        let certificate = Certificate::load(&path).unwrap();
        let at = |now, name| judge("certificate", &certificate, name, now).verdict;
        let (begins, ends) = (certificate.begins, certificate.ends);
        assert_eq!(at(begins - Duration::from_secs(1), None), Verdict::Bad);
        assert_eq!(at(begins, Some("localhost")), Verdict::Good);
        assert_eq!(at(begins, Some("other.example")), Verdict::Bad);
        assert_eq!(at(ends - Duration::from_secs(13 * DAY), None), Verdict::Warn);
        assert_eq!(at(ends + Duration::from_secs(1), None), Verdict::Bad);
        assert_eq!(of_file(Path::new("/nowhere"), None).verdict, Verdict::Bad);
    }
}
