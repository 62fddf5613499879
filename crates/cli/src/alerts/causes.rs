//! Causes that make each rule fire. Where any machine can produce the real cause, the threshold is just beyond the idle value;
//! elsewhere (a slow disk, slow readers) it is so low that normal times exceed it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use agentbench_audit::faults::Faults as AuditFaults;
use agentbench_client::{Client, Config, Data, Event, NewSession, StartAt};
use agentbench_server::config::{Audit, Jwks, TlsFiles};
use anyhow::Context;
use serde_json::json;
use tokio::runtime::Runtime;

use super::Outcome;
use super::raw::Raw;
use super::scratch::{ProvokedRule, Scratch};

const MIB: f64 = 1024.0 * 1024.0;
/// Size of each incomplete message in bytes.
const LARGE_MESSAGE: usize = 24 << 20;
const LARGE_MESSAGES: usize = 6;
/// Bytes to allocate on the disk.
const DISK_BYTES: u64 = 2 << 30;
/// Number of short-lived connections.
const STORM: usize = 80;
/// Number of malformed messages.
const NONSENSE: usize = 100;
/// Time for which the scratch server delays deletions after its clock was set.
const HOLD: Duration = Duration::from_secs(3);

fn connect(runtime: &Runtime, scratch: &Scratch) -> anyhow::Result<Client> {
    let config = Config::new(format!("ws://{}", scratch.address())).token(&scratch.token);
    Ok(runtime.block_on(Client::connect(config))?)
}

fn event(ttl: Option<Duration>) -> anyhow::Result<Event> {
    let event = Event::new(Data::json(&json!({"eventType": "progress", "percent": 1}))?);
    Ok(ttl.map_or_else(|| event.clone(), |ttl| event.clone().ttl(ttl)))
}

/// Rules about clients and sessions.
pub(super) fn of_clients(runtime: &Runtime) -> anyhow::Result<Vec<Outcome>> {
    let baseline = Baseline::measure()?;
    let rules: [ProvokedRule<'_>; 10] = [
        ("connection_failures", 0.5),
        ("reconnect_storm", 2.5),
        ("error_rate", 5.0),
        ("delivery_lag", 0.001),
        ("commit_time", 0.001),
        ("events_lost", 0.0),
        ("reader_gaps", 0.0),
        ("stalled_sessions", 0.0),
        ("memory", baseline.memory_percent + baseline.percent_of_memory(60.0 * MIB)),
        ("disk_free", baseline.disk_percent - baseline.disk_percent_of(baseline.disk_bytes as f64 / 2.0)),
    ];
    let scratch = Scratch::start(&rules, |config| {
        config.malformed_limit = 1_000_000;
        config.max_payload = 2 * LARGE_MESSAGE;
        config.watch.stall_after = Duration::from_millis(500);
    })?;
    let client = connect(runtime, &scratch)?;
    let session = runtime.block_on(client.create_session(NewSession::new("selftest", "t", "a")))?.session_id;
    runtime.block_on(client.start_test(session))?;
    let publisher = runtime.block_on(client.publisher(session))?;
    let follow = runtime.block_on(client.follow(session, StartAt::Live))?;
    for n in 0..20 {
        // One of them expires before it is read.
        let ttl = (n == 10).then(|| Duration::from_millis(1));
        let ticket = runtime.block_on(publisher.publish(event(ttl)?))?;
        runtime.block_on(ticket);
    }
    drop(follow);
    for _ in 0..STORM {
        Raw::open(scratch.address(), &scratch.token)?;
    }
    for _ in 0..20 {
        Raw::open(scratch.address(), "no.such.token")?;
    }
    let mut nonsense = Raw::open(scratch.address(), &scratch.token)?;
    for _ in 0..NONSENSE {
        nonsense.send_text("{")?;
    }
    let join = |id: &str, from: serde_json::Value| {
        let data = json!({"command": "join_session", "sessionId": session.to_string(), "from": from});
        json!({"id": id, "type": "control_command", "timestamp": 1, "data": data}).to_string()
    };
    // The start of the log, which contains an event that has expired; and a position of another log's history.
    nonsense.send_text(&join("past", json!("start")))?;
    let mut stranger = Raw::open(scratch.address(), &scratch.token)?;
    stranger.send_text(&join("lost", json!({"epoch": "00000000000000aa", "seq": 3})))?;
    let mut large = Vec::new();
    for _ in 0..LARGE_MESSAGES {
        let mut raw = Raw::open(scratch.address(), &scratch.token)?;
        raw.send_incomplete(LARGE_MESSAGE)?;
        large.push(raw);
    }
    let path = scratch.folder().join("taken");
    let taken = std::fs::File::create(&path)?;
    rustix::fs::fallocate(&taken, rustix::fs::FallocateFlags::empty(), 0, baseline.disk_bytes)
        .context("cannot allocate space on the disk of the temporary folder (TMPDIR)")?;

    let causes = [
        ("connection_failures", "bad tokens"),
        ("reconnect_storm", "short-lived connections"),
        ("error_rate", "messages that are not JSON"),
        ("delivery_lag", "any delivery, at a threshold of a microsecond"),
        ("commit_time", "any commit, at a threshold of a microsecond"),
        ("events_lost", "a position from another history"),
        ("reader_gaps", "an event whose ttl had expired"),
        ("stalled_sessions", "a running session without events"),
        ("memory", "large incomplete messages"),
        ("disk_free", "a large file on the disk"),
    ];
    let firing = |(name, cause)| Outcome::of_firing(&scratch, name, cause);
    let mut outcomes: Vec<_> = causes.into_iter().map(firing).collect();
    drop((large, stranger, nonsense, taken));
    std::fs::remove_file(&path)?;
    runtime.block_on(client.stop_test(session, agentbench_protocol::session::Outcome::Completed, None))?;
    outcomes.iter_mut().for_each(|outcome| outcome.clear(&scratch));
    runtime.block_on(client.close());
    Ok(outcomes)
}

/// Figures of the machine without a cause.
struct Baseline {
    memory_percent: f64,
    memory_bytes: f64,
    disk_percent: f64,
    disk_free: f64,
    /// Bytes of the disk that may be allocated for a moment.
    disk_bytes: u64,
}

impl Baseline {
    fn measure() -> anyhow::Result<Self> {
        let scratch = Scratch::start(&[("memory", 1e9), ("disk_free", 0.0)], |_| {})?;
        // The first evaluation of the rules takes the first reading.
        for _ in 0..100 {
            if scratch.value("memory").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let memory_percent = scratch.value("memory").context("cannot read memory use")?;
        let disk_percent = scratch.value("disk_free").context("cannot read disk use")?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let rss =
            rss.and_then(|kib| kib.parse::<f64>().ok()).context("/proc/self/status has no VmRSS")? * 1024.0;
        let disk = rustix::fs::statvfs(scratch.folder())?;
        let free = disk.f_bavail * disk.f_frsize;
        let disk_bytes = DISK_BYTES.min(free / 4);
        Ok(Self { memory_percent, memory_bytes: rss, disk_percent, disk_free: free as f64, disk_bytes })
    }

    fn percent_of_memory(&self, bytes: f64) -> f64 {
        self.memory_percent * bytes / self.memory_bytes
    }

    fn disk_percent_of(&self, bytes: f64) -> f64 {
        self.disk_percent * bytes / self.disk_free
    }
}

/// Rules that only take time: a certificate that expires, an issuer that stops answering.
pub(super) fn of_time() -> anyhow::Result<Vec<Outcome>> {
    // Between the expiry of the two certificates: 2027 and 2126.
    let fifty_years = 50.0 * 365.0;
    let issuer = Issuer::start()?;
    let files = tempfile::tempdir()?;
    let tls = TlsFiles {
        certificate: files.path().join("tls.pem"),
        key: files.path().join("tls.key"),
        key_log: None,
    };
    std::fs::write(&tls.certificate, include_str!("ending.pem"))?;
    std::fs::write(&tls.key, include_str!("scratch.key"))?;
    let certificate = tls.certificate.clone();
    let url = issuer.url.clone();
    let scratch = Scratch::start(&[("certificate_expiry", fifty_years), ("issuer_silent", 2.0)], |config| {
        config.security.tls = Some(tls);
        let (max_age, min_interval) = (Duration::from_millis(300), Duration::from_millis(200));
        config.security.jwks = Some(Jwks { url, authority: None, max_age, min_interval });
    })?;
    issuer.is_silent.store(true, Ordering::Relaxed);
    let mut outcomes = vec![
        Outcome::of_firing(&scratch, "certificate_expiry", "a certificate that expires before the threshold"),
        Outcome::of_firing(&scratch, "issuer_silent", "an issuer that answers with 503"),
    ];
    issuer.is_silent.store(false, Ordering::Relaxed);
    std::fs::write(&certificate, include_str!("lasting.pem"))?;
    scratch.server().refresh_certificate();
    outcomes.iter_mut().for_each(|outcome| outcome.clear(&scratch));
    Ok(outcomes)
}

/// An issuer of keys, which can stop answering.
struct Issuer {
    url: String,
    is_silent: Arc<AtomicBool>,
}

impl Issuer {
    fn start() -> anyhow::Result<Self> {
        /// The public key of RFC 8037, appendix A.2.
        const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"selftest","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}/jwks.json", listener.local_addr()?);
        let is_silent = Arc::<AtomicBool>::default();
        let silent = Arc::clone(&is_silent);
        // The thread ends with the process.
        std::thread::Builder::new().name("issuer".to_owned()).spawn(move || {
            for socket in listener.incoming().flatten() {
                let mut head = BufReader::new(&socket).lines();
                // The request has no body; its head ends with an empty line.
                while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let status = if silent.load(Ordering::Relaxed) { "503 Service Unavailable" } else { "200 OK" };
                let length = KEYS.len();
                // The requester may have disconnected.
                let _ = write!(
                    &socket,
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{KEYS}"
                );
            }
        })?;
        Ok(Self { url, is_silent })
    }
}

/// Rules about damaged evidence, a full disk under the audit log, and a clock that was set.
pub(super) fn of_storage(runtime: &Runtime) -> anyhow::Result<Vec<Outcome>> {
    let (faults, skew) = (AuditFaults::default(), Arc::<AtomicI64>::default());
    let folder = tempfile::tempdir()?;
    let audit = Audit { file: folder.path().join("audit.jsonl"), faults: faults.clone(), ..Audit::default() };
    let clock = Arc::clone(&skew);
    let rules = [("audit_stuck", 0.5), ("evidence_damaged", 0.0), ("clock_jump", 0.0)];
    let scratch = Scratch::start(&rules, |config| {
        config.security.audit = Some(audit);
        config.clock_skew = clock;
        config.retention_hold = HOLD;
    })?;
    let client = connect(runtime, &scratch)?;
    let session = runtime.block_on(client.create_session(NewSession::new("selftest", "t", "a")))?.session_id;
    // The hash of the bytes, computed by BLAKE3's reference implementation.
    let (bytes, hash) = (b"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    let path = format!("/api/v1/evidence/{hash}?sessionId={session}");
    scratch.request("PUT", &path, bytes)?;
    let stored = scratch.folder().join("evidence").join(session.to_string());
    for file in std::fs::read_dir(&stored)? {
        std::fs::write(file?.path(), b"something else")?;
    }
    scratch.request("GET", &path, b"")?;
    skew.store(40 * 86_400_000, Ordering::Relaxed);
    let mut outcomes = vec![
        Outcome::of_firing(&scratch, "evidence_damaged", "a file of evidence with other bytes"),
        Outcome::of_firing(&scratch, "clock_jump", "a clock set forty days ahead"),
    ];
    faults.fill(true);
    Raw::open(scratch.address(), &scratch.token)?;
    outcomes.push(Outcome::of_firing(&scratch, "audit_stuck", "an audit log on a full disk"));
    faults.fill(false);
    scratch.request("PUT", &path, bytes)?;
    outcomes.iter_mut().for_each(|outcome| outcome.clear(&scratch));
    runtime.block_on(client.close());
    Ok(outcomes)
}

/// A start with a file of the log missing, and the next start.
pub(super) fn of_startup(runtime: &Runtime) -> anyhow::Result<Vec<Outcome>> {
    let mut scratch = Scratch::start(&[("log_damaged", 0.0)], |_| {})?;
    let client = connect(runtime, &scratch)?;
    runtime.block_on(client.create_session(NewSession::new("selftest", "t", "a")))?;
    runtime.block_on(client.close());
    scratch.stop()?;
    for file in std::fs::read_dir(scratch.folder().join("segments"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            std::fs::remove_file(path)?;
        }
    }
    scratch.start_again()?;
    let mut outcome = Outcome::of_firing(&scratch, "log_damaged", "a missing file of the log");
    // Without a write, the next start would find the loss again.
    let client = connect(runtime, &scratch)?;
    runtime.block_on(client.create_session(NewSession::new("selftest", "t", "a")))?;
    runtime.block_on(client.close());
    scratch.stop()?;
    scratch.start_again()?;
    outcome.clear(&scratch);
    Ok(vec![outcome])
}

/// Rules about a full disk.
pub(super) fn of_disk(runtime: &Runtime) -> anyhow::Result<Vec<Outcome>> {
    let scratch = Scratch::start(&[("log_errors", 0.0)], |_| {})?;
    let client = connect(runtime, &scratch)?;
    let session = runtime.block_on(client.create_session(NewSession::new("selftest", "t", "a")))?.session_id;
    let publisher = runtime.block_on(client.publisher(session))?;
    scratch.faults.limit_room(Some(0));
    let ticket = runtime.block_on(publisher.publish(event(None)?))?;
    // The client retries meanwhile.
    let (sent, mut outcomes) =
        (runtime.spawn(ticket), vec![Outcome::of_firing(&scratch, "log_errors", "a full disk")]);
    scratch.faults.limit_room(None);
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), sent).await.map(drop) })?;
    outcomes.iter_mut().for_each(|outcome| outcome.clear(&scratch));
    runtime.block_on(client.close());
    Ok(outcomes)
}

/// Whether workers hang when they would return memory.
static HANGS: AtomicBool = AtomicBool::new(false);

fn hang() {
    while HANGS.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A worker thread that hangs.
pub(super) fn of_worker() -> anyhow::Result<Vec<Outcome>> {
    HANGS.store(true, Ordering::Relaxed);
    let scratch = Scratch::start(&[("worker_stuck", 0.0)], |config| {
        // With this budget memory is short at once, so the worker is asked to return some at every tick.
        config.memory_budget = Some(1);
        config.release_memory = Some(hang);
        config.operations.worker_timeout = None;
    })?;
    let mut outcomes = vec![Outcome::of_firing(&scratch, "worker_stuck", "a worker thread that hangs")];
    HANGS.store(false, Ordering::Relaxed);
    outcomes.iter_mut().for_each(|outcome| outcome.clear(&scratch));
    Ok(outcomes)
}
