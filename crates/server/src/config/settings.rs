//! Every setting once: its name, its variable, its default and its purpose. Flags, `--print-config`, the file's keys and the
//! reference in `docs/` are generated from this table.

/// One setting, as text. [`super::Config`] parses it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name of the flag (`--max-connections`) and, with `_` for `-`, of the key in the file.
    pub name: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// An older or foreign name of the same variable, read if the first is not set.
    pub env_alias: Option<&'static str>,
    /// Value if not set; an empty one means "decided at start", as the help explains.
    pub default: &'static str,
    /// One line for `--help` and the reference: what it is, in which unit, and why to change it.
    pub help: &'static str,
    /// Never printed.
    pub secret: bool,
}

const fn setting(
    name: &'static str,
    env: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, env, env_alias: None, default, help, secret: false }
}

/// The table.
pub const SETTINGS: &[Setting] = &[
    Setting {
        env_alias: Some("NODE_ENV"),
        ..setting(
            "env",
            "AGENTBENCH_ENV",
            "development",
            "development or production; production requires a strong secret and listens on all addresses",
        )
    },
    setting("host", "WS_HOST", "", "address to listen on; 127.0.0.1 in development, 0.0.0.0 in production"),
    setting("port", "WS_PORT", "3001", "port to listen on; 0 picks a free one"),
    setting("data-dir", "DATA_DIR", "./data", "folder of the log and the archive"),
    setting("workers", "WORKERS", "0", "threads that serve connections; 0 for one per core"),
    setting(
        "node-name",
        "NODE_NAME",
        "",
        "name of this node in messages and metrics; the host's name if empty",
    ),
    Setting {
        secret: true,
        ..setting(
            "jwt-secret",
            "JWT_SECRET",
            "",
            "secret of HS256 tokens, 32 bytes or more; generated at first start in development",
        )
    },
    setting(
        "jwt-keys-file",
        "JWT_KEYS_FILE",
        "",
        "JSON file of keys by kid (HS, RS256, ES256, EdDSA); reloaded on SIGHUP",
    ),
    setting(
        "max-connections",
        "MAX_CONNECTIONS",
        "10000",
        "maximum number of connections; further ones get 503 with Retry-After, so that open ones stay responsive",
    ),
    setting(
        "max-sessions",
        "MAX_SESSIONS",
        "100000",
        "maximum number of sessions that have not ended; bounds the index in memory",
    ),
    setting(
        "session-timeout",
        "SESSION_TIMEOUT",
        "1800000",
        "ms after which a session without events and participants expires",
    ),
    setting(
        "max-payload",
        "MAX_PAYLOAD",
        "16777216",
        "maximum size of a message in bytes, compressed and decompressed",
    ),
    setting(
        "receive-budget",
        "RECEIVE_BUDGET",
        "268435456",
        "bytes held for incomplete messages, of all connections",
    ),
    setting(
        "commit-backlog",
        "COMMIT_BACKLOG",
        "67108864",
        "bytes that may wait for the log; beyond it, publishes are refused as overloaded",
    ),
    setting(
        "memory-budget",
        "MEMORY_BUDGET",
        "",
        "bytes of resident memory from which events are refused as overloaded, the least important first (from 85 %); 0 for no limit; three quarters of the machine's or control group's memory if empty",
    ),
    setting(
        "connection-rate",
        "CONNECTION_RATE",
        "100000",
        "messages per second that one connection may send; 0 for no limit",
    ),
    setting(
        "user-rate",
        "USER_RATE",
        "1000000",
        "messages per second that all connections of one user may send; 0 for no limit",
    ),
    setting(
        "user-byte-rate",
        "USER_BYTE_RATE",
        "",
        "bytes of events per second that one user may send, decompressed and as JSON; 0 for no limit; 33554432 in production, 0 in development",
    ),
    setting(
        "max-session-bytes",
        "MAX_SESSION_BYTES",
        "",
        "bytes that a session may receive between two starts of the server before its events are refused; 0 for no limit; 17179869184 in production, 0 in development",
    ),
    setting(
        "malformed-limit",
        "MALFORMED_LIMIT",
        "10",
        "consecutive malformed messages that end a connection",
    ),
    setting(
        "slow-consumer-timeout",
        "SLOW_CONSUMER_TIMEOUT",
        "60000",
        "ms that a connection's socket may stay full before it is closed with 4408",
    ),
    setting(
        "auth-timeout",
        "AUTH_TIMEOUT",
        "10000",
        "ms within which a client must send its whole request head",
    ),
    setting(
        "http-keep-alive",
        "HTTP_KEEP_ALIVE",
        "75000",
        "ms that an idle HTTP connection is kept open; longer than the 60 s of most load balancers, so that they close it first",
    ),
    setting(
        "tls-cert",
        "TLS_CERT",
        "",
        "PEM file of the certificate and its chain; with TLS_KEY, the port accepts only TLS (wss://, https://)",
    ),
    setting(
        "tls-key",
        "TLS_KEY",
        "",
        "PEM file of the certificate's private key; both files are reloaded when they change",
    ),
    setting(
        "tls-key-log",
        "TLS_KEY_LOG",
        "",
        "file to append the secrets of TLS sessions to, so that Wireshark can decrypt recorded traffic; refused in production",
    ),
    setting(
        "trusted-proxies",
        "TRUSTED_PROXIES",
        "",
        "addresses and networks of load balancers, separated by commas (10.0.0.0/8, ::1): the client address that they report is trusted",
    ),
    setting(
        "proxy-protocol",
        "PROXY_PROTOCOL",
        "false",
        "connections from TRUSTED_PROXIES start with a PROXY header (version 1 or 2)",
    ),
    setting(
        "address-rate",
        "ADDRESS_RATE",
        "0",
        "messages per second that all connections from one address (IPv6: one /64) may send; 0 for no limit",
    ),
    setting(
        "address-connection-rate",
        "ADDRESS_CONNECTION_RATE",
        "",
        "connections per second that one address may open; 500 in production, 0 (no limit) in development",
    ),
    setting(
        "failed-token-rate",
        "FAILED_TOKEN_RATE",
        "5",
        "refused tokens per second from one address that are answered at once, further ones after a second; valid tokens never wait; 0 for no limit",
    ),
    setting(
        "user-connections",
        "USER_CONNECTIONS",
        "0",
        "connections that one user may have at once; 0 for no limit",
    ),
    setting(
        "user-sessions",
        "USER_SESSIONS",
        "0",
        "unended sessions that one user may have created; 0 for no limit",
    ),
    setting(
        "jwks-url",
        "JWKS_URL",
        "",
        "http:// or https:// address of the issuer's keys (JWKS), in addition to those of JWT_KEYS_FILE or JWT_SECRET",
    ),
    setting(
        "jwks-ca-file",
        "JWKS_CA_FILE",
        "",
        "PEM file of the CA that signed the issuer's certificate; the system's CAs if empty",
    ),
    setting(
        "jwks-max-age",
        "JWKS_MAX_AGE",
        "300000",
        "ms after which the issuer's keys are fetched again; a shorter Cache-Control max-age of the issuer wins",
    ),
    setting(
        "jwks-min-interval",
        "JWKS_MIN_INTERVAL",
        "10000",
        "minimum ms between two fetches, however many tokens name unknown keys",
    ),
    setting(
        "audit-file",
        "AUDIT_FILE",
        "",
        "file of the audit log; audit.jsonl in the data folder in production, none in development; none disables it",
    ),
    setting(
        "audit-max-bytes",
        "AUDIT_MAX_BYTES",
        "104857600",
        "size of the audit file in bytes at which a new one is started",
    ),
    setting(
        "audit-max-age",
        "AUDIT_MAX_AGE",
        "604800000",
        "ms after which a new audit file is started; 0 for never",
    ),
    setting(
        "audit-when-full",
        "AUDIT_WHEN_FULL",
        "wait",
        "wait: when the audit log is full, operations that need an audit line wait or are refused; count: lines are lost, and the next line records how many",
    ),
    setting(
        "heartbeat-interval",
        "HEARTBEAT_INTERVAL",
        "30000",
        "ms between pings; two unanswered ones end a connection",
    ),
    setting("shutdown-timeout", "SHUTDOWN_TIMEOUT", "10000", "ms that a shutdown may take"),
    setting(
        "reconnect-spread",
        "RECONNECT_SPREAD",
        "2000",
        "ms over which the reconnects of clients are spread after a stop",
    ),
    setting(
        "ack-level",
        "ACK_LEVEL",
        "logged",
        "what an ack guarantees: logged (survives a crash of the process) or synced (survives power loss)",
    ),
    setting(
        "dedupe-window",
        "DEDUPE_WINDOW",
        "65536",
        "number of events per session whose ids are remembered, about 24 bytes each",
    ),
    setting(
        "tail-bytes",
        "TAIL_BYTES",
        "262144",
        "bytes of each session's newest events kept in memory for its followers",
    ),
    setting(
        "tail-budget",
        "TAIL_BUDGET",
        "134217728",
        "bytes of newest events kept in memory for all sessions together; beyond it, each keeps only a little",
    ),
    setting(
        "read-budget",
        "READ_BUDGET",
        "268435456",
        "bytes held for reads of past events (catching up, history, ranges, exports, replays) until their sockets accept them; beyond it, readers wait in turn, and one that accepts nothing for five seconds meanwhile is disconnected",
    ),
    setting("compression", "COMPRESSION", "true", "accept permessage-deflate"),
    setting(
        "compression-threshold",
        "COMPRESSION_THRESHOLD",
        "1024",
        "minimum size of compressed messages in bytes",
    ),
    setting("compression-level", "COMPRESSION_LEVEL", "3", "0 (store) to 9 (smallest)"),
    setting("send-buffer", "SEND_BUFFER", "0", "bytes of a socket's send buffer; 0 for the kernel's default"),
    setting(
        "receive-buffer",
        "RECEIVE_BUFFER",
        "0",
        "bytes of a socket's receive buffer; 0 for the kernel's default",
    ),
    setting(
        "hot-log-bytes",
        "HOT_LOG_BYTES",
        "2147483648",
        "size of the live sessions' log in bytes at which old files are cleaned up; more means less copying, and a longer start after a crash",
    ),
    setting(
        "retention-age",
        "RETENTION_AGE",
        "0",
        "ms that archived sessions are kept after their end; 0 for no limit",
    ),
    setting(
        "retention-bytes",
        "RETENTION_BYTES",
        "0",
        "maximum size of the archive in bytes, the oldest sessions are removed first; 0 for no limit",
    ),
    setting(
        "retention-hold",
        "RETENTION_HOLD",
        "3600000",
        "ms during which nothing is removed for its age after the wall clock was set (or a start after a pause of a day)",
    ),
    setting(
        "max-evidence-bytes",
        "MAX_EVIDENCE_BYTES",
        "16777216",
        "maximum size of a piece of evidence (a screenshot, a video, a file) in bytes",
    ),
    setting(
        "max-session-evidence-bytes",
        "MAX_SESSION_EVIDENCE_BYTES",
        "536870912",
        "maximum size of all evidence of a session in bytes; a file counts as at least 4096",
    ),
    setting(
        "max-export-bytes",
        "MAX_EXPORT_BYTES",
        "268435456",
        "maximum size of a session's export as one HTML file in bytes, events and evidence together; larger ones are refused",
    ),
    setting(
        "allowed-origins",
        "ALLOWED_ORIGINS",
        "",
        "web pages whose scripts may connect and read answers, separated by commas: origins (https://app.example), localhost, extensions, * or none; localhost and extensions in development, none in production if empty; the server's own pages (self) are always allowed",
    ),
    setting("enable-metrics", "ENABLE_METRICS", "true", "serve /metrics"),
    setting(
        "metrics-exemplars",
        "METRICS_EXEMPLARS",
        "false",
        "keep the trace ids of events (traceparent) as exemplars of the time from publish to log, for OpenMetrics",
    ),
    setting(
        "stall-after",
        "STALL_AFTER",
        "30000",
        "ms without events after which a running session counts as stalled, unless ten times its usual interval is longer",
    ),
    setting(
        "alert-connection-failures",
        "ALERT_CONNECTION_FAILURES",
        "5,30000,60000",
        "connections refused per second; an alert: THRESHOLD, ms that the value must be beyond it before the alert fires, ms that it must be back to normal before the alert clears; or off",
    ),
    setting(
        "alert-reconnect-storm",
        "ALERT_RECONNECT_STORM",
        "200,10000,60000",
        "connections opened per second; an alert as above",
    ),
    setting(
        "alert-error-rate",
        "ALERT_ERROR_RATE",
        "5,30000,60000",
        "percentage of messages that are refused; an alert as above",
    ),
    setting(
        "alert-delivery-lag",
        "ALERT_DELIVERY_LAG",
        "1000,10000,60000",
        "ms from receiving an event to writing it to a reader's socket (p99); an alert as above",
    ),
    setting(
        "alert-events-lost",
        "ALERT_EVENTS_LOST",
        "0,0,300000",
        "gaps in ten seconds for lost events (damaged, overflow, epoch, diverged); an alert as above",
    ),
    setting(
        "alert-reader-gaps",
        "ALERT_READER_GAPS",
        "10,30000,60000",
        "gaps per second for events that were too old (expired, retention); an alert as above",
    ),
    setting(
        "alert-log-errors",
        "ALERT_LOG_ERRORS",
        "0,0,60000",
        "frames that the log refused in ten seconds, plus 1 while it accepts none; an alert as above",
    ),
    setting(
        "alert-log-damaged",
        "ALERT_LOG_DAMAGED",
        "0,0,0",
        "1 if acknowledged events were missing at the start, 2 if only the archive can be read; an alert as above",
    ),
    setting(
        "alert-audit-stuck",
        "ALERT_AUDIT_STUCK",
        "5,0,10000",
        "seconds for which the audit log has not written a waiting line; an alert as above",
    ),
    setting(
        "alert-evidence-damaged",
        "ALERT_EVIDENCE_DAMAGED",
        "0,0,0",
        "number of evidence files known to be damaged; an alert as above",
    ),
    setting(
        "alert-clock-jump",
        "ALERT_CLOCK_JUMP",
        "0,0,0",
        "seconds until removal for age resumes, since the wall clock was set; an alert as above",
    ),
    setting(
        "alert-commit-time",
        "ALERT_COMMIT_TIME",
        "250,30000,60000",
        "ms that a commit of the log takes (p99); an alert as above",
    ),
    setting(
        "alert-memory",
        "ALERT_MEMORY",
        "90,30000,60000",
        "resident memory as a percentage of the process's limit; an alert as above",
    ),
    setting(
        "alert-disk-free",
        "ALERT_DISK_FREE",
        "10,60000,60000",
        "free space as a percentage of the data folder's disk, fires below; an alert as above",
    ),
    setting(
        "alert-certificate-expiry",
        "ALERT_CERTIFICATE_EXPIRY",
        "14,0,0",
        "days until the certificate expires, fires below; an alert as above",
    ),
    setting(
        "alert-issuer-silent",
        "ALERT_ISSUER_SILENT",
        "7200,0,0",
        "seconds since the issuer (JWKS_URL) last returned its keys; an alert as above",
    ),
    setting(
        "alert-stalled-sessions",
        "ALERT_STALLED_SESSIONS",
        "0,60000,30000",
        "running sessions that have stalled (STALL_AFTER); an alert as above",
    ),
    setting(
        "alert-worker-stuck",
        "ALERT_WORKER_STUCK",
        "0,1,10000",
        "worker threads that hang (WORKER_TIMEOUT); an alert as above",
    ),
    Setting {
        // Such addresses often contain a secret.
        name: "alert-webhook-url",
        env: "ALERT_WEBHOOK_URL",
        env_alias: None,
        default: "",
        help: "http:// or https:// address that receives a POST for every alert that fires or clears",
        secret: true,
    },
    Setting {
        name: "alert-webhook-secret",
        env: "ALERT_WEBHOOK_SECRET",
        env_alias: None,
        default: "",
        help: "secret that signs those requests (HMAC-SHA256), 16 characters or more",
        secret: true,
    },
    setting(
        "alert-webhook-ca-file",
        "ALERT_WEBHOOK_CA_FILE",
        "",
        "PEM file of the CA that signed the webhook's certificate; the system's CAs if empty",
    ),
    setting("enable-logging", "ENABLE_LOGGING", "true", "write log lines to standard error"),
    setting(
        "log-level",
        "LOG_LEVEL",
        "info",
        "error, warn, info, debug or trace, or a filter such as agentbench_server=debug; reloaded on SIGHUP",
    ),
    setting("log-format", "LOG_FORMAT", "pretty", "pretty or json"),
    setting(
        "health-port",
        "HEALTH_PORT",
        "0",
        "separate port for /healthz, /readyz and /metrics, always plain HTTP, served by a thread of its own that answers even when no worker does; 0 for none (WS_PORT serves them, too)",
    ),
    setting(
        "worker-timeout",
        "WORKER_TIMEOUT",
        "30000",
        "ms after which a hung worker thread ends the process, so that its supervisor restarts it; /readyz reports it after three seconds; 0 for never",
    ),
    setting(
        "log-burst",
        "LOG_BURST",
        "50",
        "log lines per second of the same message; the rest is counted, and the count is written; 0 for no limit",
    ),
    setting(
        "enable-profiling",
        "ENABLE_PROFILING",
        "false",
        "allow administrators to take CPU profiles of this server (agentbench profile)",
    ),
    setting(
        "otlp-endpoint",
        "OTLP_ENDPOINT",
        "",
        "http:// or https:// address of an OpenTelemetry collector (OTLP/HTTP, usually port 4318) for spans of events that carry a traceparent",
    ),
];

/// The setting with this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}
