//! A running server from outside: whether it is reachable and ready, its certificate and clock, and a full WebSocket handshake.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentbench_client::{Client, Config};
use agentbench_http_client::{HttpClient, Request, header};
use agentbench_scenarios::target::sentence;
use agentbench_tls::{Certificate, TrustFault};
use bytes::Bytes;

use super::{Check, Verdict, certificate};
use crate::api;

/// Time limit of each request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clock difference without an effect on tokens.
const SAME_TIME: u64 = 2;
/// Clock difference at which valid tokens are refused, or expired ones accepted.
const OTHER_TIME: u64 = 30;

pub(super) async fn checks(url: &str, authority: Option<&Path>, token: Option<&str>) -> Vec<Check> {
    let client = match api::client(url, authority) {
        Ok(client) => client,
        Err(error) => {
            return vec![Check::of(
                "reachable",
                Verdict::Bad,
                format!("{error:#}"),
                "check --url and --ca-file",
            )];
        }
    };
    let mut checks = Vec::new();
    let started = Instant::now();
    let stream = match tokio::time::timeout(PATIENCE, client.connect()).await {
        Ok(Ok(stream)) => stream,
        failed => {
            let (figure, fault) = match failed {
                Ok(Err(error)) => (format!("{url}: {error}"), TrustFault::of(&error)),
                _ => (format!("{url}: no answer within {} s", PATIENCE.as_secs()), None),
            };
            return vec![Check::of("reachable", Verdict::Bad, figure, advice(fault))];
        }
    };
    checks.push(Check::good("reachable", format!("{url} in {:.1} ms", millis(started))));
    if let Some(shown) = stream.peer_certificate().and_then(Certificate::from_der) {
        checks.push(certificate::judge("server_certificate", &shown, Some(client.host()), SystemTime::now()));
    }
    drop(stream);
    checks.extend(ready(&client).await);
    checks.push(match token {
        Some(token) => handshake(url, authority, token).await,
        None => Check::good("handshake", "not tried: give --token"),
    });
    checks
}

fn advice(fault: Option<TrustFault>) -> &'static str {
    match fault {
        None => "is it running, on this port and with this scheme (ws or wss)? does a firewall block you?",
        Some(TrustFault::Authority) => {
            "the server answers, but its certificate is not signed by a CA that this machine trusts: give --ca-file with the authority that signed it (a self-signed certificate is its own), or SSL_CERT_FILE"
        }
        Some(TrustFault::Name) => {
            "the server answers, but its certificate is for other names: connect to one of those, or add this name to the certificate (subjectAltName)"
        }
        Some(TrustFault::Time) => {
            "the server answers, but its certificate has expired or is not valid yet: renew it, or check this machine's clock"
        }
        Some(TrustFault::NoTls) => {
            "the server answers, but speaks no TLS on this port: try ws:// instead of wss://"
        }
    }
}

async fn ready(client: &HttpClient) -> Vec<Check> {
    let asked = async {
        let request = Request::get("/readyz").header(header::ACCEPT, "*/*");
        let response = client.send(request, Bytes::new()).await?;
        let date =
            response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        Ok::<_, anyhow::Error>((status, date, api::text(response).await?))
    };
    let advice =
        "the text gives the reason: draining, a full disk, or a failed log (docs/troubleshooting.md)";
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((200, date, _))) => {
            let mut checks = vec![Check::good("ready", "accepts connections and publishes")];
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            checks.extend(date.and_then(|date| skew(http_date(&date)?, now)));
            checks
        }
        Ok(Ok((status, _, text))) => {
            vec![Check::of("ready", Verdict::Bad, format!("{status} {}", text.trim()), advice)]
        }
        Ok(Err(error)) => vec![Check::of("ready", Verdict::Bad, format!("{error:#}"), advice)],
        Err(_) => vec![Check::of("ready", Verdict::Bad, "no answer", advice)],
    }
}

fn skew(server: u64, now: u64) -> Option<Check> {
    let difference = server.abs_diff(now);
    let verdict = match difference {
        _ if difference <= SAME_TIME => Verdict::Good,
        _ if difference < OTHER_TIME => Verdict::Warn,
        _ => Verdict::Bad,
    };
    let advice = "one of the two clocks is wrong: tokens expire early or late";
    Some(Check::of("server_clock", verdict, format!("differs from this machine's by {difference} s"), advice))
}

/// Seconds since 1970 of an IMF-fixdate (RFC 9110 §5.6.7): `Tue, 24 Nov 2026 02:00:00 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut parts = text.split(&[' ', ':'][..]).skip(1);
    let number = |parts: &mut dyn Iterator<Item = &str>| parts.next()?.parse::<u64>().ok();
    let day = number(&mut parts)?;
    let month = MONTHS.find(parts.next().filter(|name| name.len() == 3)?)? / 3;
    let year = number(&mut parts).filter(|year| (1970..10_000).contains(year))?;
    let (hour, minute, second) = (number(&mut parts)?, number(&mut parts)?, number(&mut parts)?);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = days + lengths.iter().take(month).sum::<u64>() + day.checked_sub(1)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

async fn handshake(url: &str, authority: Option<&Path>, token: &str) -> Check {
    let mut config = Config::new(url).token(token).connect_timeout(PATIENCE);
    if let Some(path) = authority {
        match std::fs::read(path) {
            Ok(pem) => config = config.authority(pem),
            Err(error) => {
                return Check::of(
                    "handshake",
                    Verdict::Bad,
                    format!("{}: {error}", path.display()),
                    "--ca-file",
                );
            }
        }
    }
    let started = Instant::now();
    match tokio::time::timeout(PATIENCE * 2, Client::connect(config)).await {
        Ok(Ok(client)) => {
            let took = millis(started);
            client.close().await;
            Check::good("handshake", format!("connected with the token in {took:.1} ms"))
        }
        Ok(Err(error)) => Check::of(
            "handshake",
            Verdict::Bad,
            sentence(url, &error),
            "agentbench token inspect shows what is wrong with a token; a proxy in between must forward Upgrade",
        ),
        Err(_) => {
            Check::of("handshake", Verdict::Bad, "no answer", "a proxy in between must forward Upgrade")
        }
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
        for wrong in
            ["", "Sun", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 XXX 1994 08:49:37 GMT", "Sun, 06 Nov 94"]
        {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn clocks_are_compared() {
        let verdict = |server| skew(server, 1_000).map(|check| check.verdict);
        assert_eq!(verdict(1_002), Some(Verdict::Good));
        assert_eq!(verdict(990), Some(Verdict::Warn));
        assert_eq!(verdict(900), Some(Verdict::Bad));
    }
}
