//! Every setting once: its name, its variable, its default and what it is for. Flags, `--print-config`, the file's keys and
//! the reference in `docs/` are made from this table.

/// One setting, as text. What the text means is [`super::Config`]'s to say.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name of the flag (`--max-connections`) and, with `_` for `-`, key in the file.
    pub name: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// An older or foreign name of the same variable, read if the first is not set.
    pub env_alias: Option<&'static str>,
    /// Value if nobody says anything; empty means "decided at start", as the help tells.
    pub default: &'static str,
    /// One line for `--help` and the reference: what it is, in which unit, and why one would change it.
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
            "development or production; production insists on a proper secret and listens on all addresses",
        )
    },
    setting("host", "WS_HOST", "", "address to listen on; 127.0.0.1 in development, 0.0.0.0 in production"),
    setting("port", "WS_PORT", "3001", "port to listen on; 0 lets the system choose"),
    setting("data-dir", "DATA_DIR", "./data", "folder of the log and the archive"),
    setting("workers", "WORKERS", "0", "threads that serve connections; 0 is one for each core"),
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
            "secret of HS256 tokens, 32 bytes or more; made at first start in development",
        )
    },
    setting(
        "jwt-keys-file",
        "JWT_KEYS_FILE",
        "",
        "JSON file of keys by kid (HS, RS256, ES256, EdDSA); read again on SIGHUP",
    ),
    setting(
        "max-connections",
        "MAX_CONNECTIONS",
        "10000",
        "connections at most; beyond that 503 with Retry-After, so that those that are there stay well served",
    ),
    setting(
        "max-sessions",
        "MAX_SESSIONS",
        "100000",
        "sessions that have not ended at most; bounds the index in memory",
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
        "bytes of the largest message, before and after inflating",
    ),
    setting(
        "receive-budget",
        "RECEIVE_BUDGET",
        "268435456",
        "bytes held for messages that have not arrived whole, of all connections",
    ),
    setting(
        "commit-backlog",
        "COMMIT_BACKLOG",
        "67108864",
        "bytes that may wait for the log before publishes are refused as overloaded",
    ),
    setting(
        "memory-budget",
        "MEMORY_BUDGET",
        "",
        "bytes of resident memory from which events are refused as overloaded, the least important first (from 85 %); 0 is no limit; three quarters of the machine's or control group's memory if empty",
    ),
    setting(
        "connection-rate",
        "CONNECTION_RATE",
        "100000",
        "messages a second that one connection may send; 0 is no limit",
    ),
    setting(
        "user-rate",
        "USER_RATE",
        "1000000",
        "messages a second that all connections of one user may send; 0 is no limit",
    ),
    setting(
        "user-byte-rate",
        "USER_BYTE_RATE",
        "",
        "bytes of events a second that one user may send, inflated and as JSON; 0 is no limit; 33554432 in production, 0 in development",
    ),
    setting(
        "max-session-bytes",
        "MAX_SESSION_BYTES",
        "",
        "bytes that a session may get from one life of the server before its events are refused; 0 is no limit; 17179869184 in production, 0 in development",
    ),
    setting("malformed-limit", "MALFORMED_LIMIT", "10", "malformed messages in a row that end a connection"),
    setting(
        "slow-consumer-timeout",
        "SLOW_CONSUMER_TIMEOUT",
        "60000",
        "ms that a connection may leave its socket full before it is closed with 4408",
    ),
    setting(
        "auth-timeout",
        "AUTH_TIMEOUT",
        "10000",
        "ms within which a client has to send its whole request head",
    ),
    setting(
        "http-keep-alive",
        "HTTP_KEEP_ALIVE",
        "75000",
        "ms that an HTTP connection is kept for its next request; longer than the 60 s of most load balancers, so that they end it first",
    ),
    setting(
        "tls-cert",
        "TLS_CERT",
        "",
        "PEM file of the certificate and its chain; with TLS_KEY the port speaks TLS (wss://, https://) only",
    ),
    setting(
        "tls-key",
        "TLS_KEY",
        "",
        "PEM file of the certificate's private key; both files are read again when they change",
    ),
    setting(
        "tls-key-log",
        "TLS_KEY_LOG",
        "",
        "file to which the secrets of TLS sessions are appended, so that Wireshark can read recorded traffic; refused in production",
    ),
    setting(
        "trusted-proxies",
        "TRUSTED_PROXIES",
        "",
        "addresses and networks of load balancers, separated by commas (10.0.0.0/8, ::1): their word on a client's address is believed",
    ),
    setting(
        "proxy-protocol",
        "PROXY_PROTOCOL",
        "false",
        "connections from TRUSTED_PROXIES begin with a PROXY header (version 1 or 2)",
    ),
    setting(
        "address-rate",
        "ADDRESS_RATE",
        "0",
        "messages a second that all connections of one address (IPv6: one /64) may send; 0 is no limit",
    ),
    setting(
        "address-connection-rate",
        "ADDRESS_CONNECTION_RATE",
        "",
        "connections a second that one address may open; 500 in production, 0 (no limit) in development",
    ),
    setting(
        "failed-token-rate",
        "FAILED_TOKEN_RATE",
        "5",
        "refused tokens a second of one address that are answered at once, further ones after a second; good tokens never wait; 0 is no limit",
    ),
    setting(
        "user-connections",
        "USER_CONNECTIONS",
        "0",
        "connections that one user may have at once; 0 is no limit",
    ),
    setting(
        "user-sessions",
        "USER_SESSIONS",
        "0",
        "sessions that have not ended that one user may have created; 0 is no limit",
    ),
    setting(
        "jwks-url",
        "JWKS_URL",
        "",
        "http:// or https:// address of the issuer's keys (JWKS), beside those of JWT_KEYS_FILE or JWT_SECRET",
    ),
    setting(
        "jwks-ca-file",
        "JWKS_CA_FILE",
        "",
        "PEM file of the authority that signed the issuer's certificate; the machine's own authorities if empty",
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
        "ms between two fetches at least, however many tokens name keys that are not known",
    ),
    setting(
        "audit-file",
        "AUDIT_FILE",
        "",
        "file of the audit log; audit.jsonl in the data folder in production, none in development; none turns it off",
    ),
    setting(
        "audit-max-bytes",
        "AUDIT_MAX_BYTES",
        "104857600",
        "bytes of the audit file from which a new one is begun",
    ),
    setting(
        "audit-max-age",
        "AUDIT_MAX_AGE",
        "604800000",
        "ms after which a new audit file is begun; 0 is never",
    ),
    setting(
        "audit-when-full",
        "AUDIT_WHEN_FULL",
        "wait",
        "wait: what has to be written down waits when the audit log is full, or is refused; count: lines are lost, and the next line says how many",
    ),
    setting(
        "heartbeat-interval",
        "HEARTBEAT_INTERVAL",
        "30000",
        "ms between pings; two unanswered ones end a connection",
    ),
    setting("shutdown-timeout", "SHUTDOWN_TIMEOUT", "10000", "ms that a stop may take"),
    setting(
        "reconnect-spread",
        "RECONNECT_SPREAD",
        "2000",
        "ms over which clients are told to come back after a stop",
    ),
    setting(
        "ack-level",
        "ACK_LEVEL",
        "logged",
        "what an ack vouches for: logged (survives a crash of the process) or synced (survives power loss)",
    ),
    setting(
        "dedupe-window",
        "DEDUPE_WINDOW",
        "65536",
        "events of a session whose ids are remembered, about 24 bytes each",
    ),
    setting(
        "tail-bytes",
        "TAIL_BYTES",
        "262144",
        "bytes of a session's newest events kept in memory for its followers",
    ),
    setting(
        "tail-budget",
        "TAIL_BUDGET",
        "134217728",
        "bytes of newest events kept in memory for all sessions together; beyond that each keeps little",
    ),
    setting(
        "read-budget",
        "READ_BUDGET",
        "268435456",
        "bytes held for readers of what is past (catching up, history, ranges, exports, replays) until their sockets have taken them; beyond that they wait in turn, and who takes nothing for five seconds meanwhile is cut off",
    ),
    setting("compression", "COMPRESSION", "true", "accept permessage-deflate"),
    setting(
        "compression-threshold",
        "COMPRESSION_THRESHOLD",
        "1024",
        "bytes from which messages are compressed",
    ),
    setting("compression-level", "COMPRESSION_LEVEL", "3", "0 (store) to 9 (smallest)"),
    setting("send-buffer", "SEND_BUFFER", "0", "bytes of a socket's send buffer; 0 leaves it to the kernel"),
    setting(
        "receive-buffer",
        "RECEIVE_BUFFER",
        "0",
        "bytes of a socket's receive buffer; 0 leaves it to the kernel",
    ),
    setting(
        "hot-log-bytes",
        "HOT_LOG_BYTES",
        "2147483648",
        "bytes of the live sessions' log from which old files are cleaned up; more means less copying, and a longer start after a crash",
    ),
    setting(
        "retention-age",
        "RETENTION_AGE",
        "0",
        "ms after their end that archived sessions are kept; 0 is for ever",
    ),
    setting(
        "retention-bytes",
        "RETENTION_BYTES",
        "0",
        "bytes of the archive at most, the oldest sessions go first; 0 is no limit",
    ),
    setting(
        "retention-hold",
        "RETENTION_HOLD",
        "3600000",
        "ms after the wall clock was set (or a start after a pause of a day) for which nothing is removed for its age",
    ),
    setting(
        "max-evidence-bytes",
        "MAX_EVIDENCE_BYTES",
        "16777216",
        "bytes of the largest piece of evidence (a screenshot, a video, a file)",
    ),
    setting(
        "max-session-evidence-bytes",
        "MAX_SESSION_EVIDENCE_BYTES",
        "536870912",
        "bytes of all evidence of a session; a file counts for 4096 at least",
    ),
    setting(
        "max-export-bytes",
        "MAX_EXPORT_BYTES",
        "268435456",
        "bytes of a session's export as one HTML file, events and evidence together; larger ones are refused",
    ),
    setting(
        "allowed-origins",
        "ALLOWED_ORIGINS",
        "",
        "pages whose scripts may connect and read answers, with commas between: origins (https://app.example), localhost, extensions, * or none; if empty localhost and extensions in development, none in production; the server's own pages (self) always may",
    ),
    setting("enable-metrics", "ENABLE_METRICS", "true", "serve /metrics"),
    setting(
        "metrics-exemplars",
        "METRICS_EXEMPLARS",
        "false",
        "keep the trace ids that events name (traceparent) beside the time from publish to log, for OpenMetrics",
    ),
    setting(
        "stall-after",
        "STALL_AFTER",
        "30000",
        "ms of silence after which a running session is stalled, unless ten times its usual pace is longer",
    ),
    setting(
        "alert-connection-failures",
        "ALERT_CONNECTION_FAILURES",
        "5,30000,60000",
        "connections refused a second; an alert: THRESHOLD, ms that it has to be beyond it before it fires, ms that it has to be well before it clears; or off",
    ),
    setting(
        "alert-reconnect-storm",
        "ALERT_RECONNECT_STORM",
        "200,10000,60000",
        "connections opened a second; an alert as above",
    ),
    setting(
        "alert-error-rate",
        "ALERT_ERROR_RATE",
        "5,30000,60000",
        "percent of messages that are refused; an alert as above",
    ),
    setting(
        "alert-delivery-lag",
        "ALERT_DELIVERY_LAG",
        "1000,10000,60000",
        "ms from taking an event to handing it to a reader's socket (p99); an alert as above",
    ),
    setting(
        "alert-events-lost",
        "ALERT_EVENTS_LOST",
        "0,0,300000",
        "gaps in ten seconds of events that are gone (damaged, overflow, epoch, diverged); an alert as above",
    ),
    setting(
        "alert-reader-gaps",
        "ALERT_READER_GAPS",
        "10,30000,60000",
        "gaps a second of events that were too old (expired, retention); an alert as above",
    ),
    setting(
        "alert-log-errors",
        "ALERT_LOG_ERRORS",
        "0,0,60000",
        "frames in ten seconds that the log did not take, and 1 while it takes none; an alert as above",
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
        "seconds for which the audit log has not taken a line that waits; an alert as above",
    ),
    setting(
        "alert-evidence-damaged",
        "ALERT_EVIDENCE_DAMAGED",
        "0,0,0",
        "files of evidence that are known to be damaged; an alert as above",
    ),
    setting(
        "alert-clock-jump",
        "ALERT_CLOCK_JUMP",
        "0,0,0",
        "seconds for which nothing is removed for its age yet, since the wall clock was set; an alert as above",
    ),
    setting(
        "alert-commit-time",
        "ALERT_COMMIT_TIME",
        "250,30000,60000",
        "ms of a commit of the log (p99); an alert as above",
    ),
    setting(
        "alert-memory",
        "ALERT_MEMORY",
        "90,30000,60000",
        "percent of the memory that the process may have; an alert as above",
    ),
    setting(
        "alert-disk-free",
        "ALERT_DISK_FREE",
        "10,60000,60000",
        "percent of the data folder's disk that is free, fires below; an alert as above",
    ),
    setting(
        "alert-certificate-expiry",
        "ALERT_CERTIFICATE_EXPIRY",
        "14,0,0",
        "days until the certificate ends, fires below; an alert as above",
    ),
    setting(
        "alert-issuer-silent",
        "ALERT_ISSUER_SILENT",
        "7200,0,0",
        "seconds since the issuer (JWKS_URL) last gave its keys; an alert as above",
    ),
    setting(
        "alert-stalled-sessions",
        "ALERT_STALLED_SESSIONS",
        "0,60000,30000",
        "running sessions that have gone silent (STALL_AFTER); an alert as above",
    ),
    setting(
        "alert-worker-stuck",
        "ALERT_WORKER_STUCK",
        "0,1,10000",
        "worker threads that hang (WORKER_TIMEOUT); an alert as above",
    ),
    Setting {
        // Such addresses often hold a secret themselves.
        name: "alert-webhook-url",
        env: "ALERT_WEBHOOK_URL",
        env_alias: None,
        default: "",
        help: "http:// or https:// address that gets a POST for every alert that fires or clears",
        secret: true,
    },
    Setting {
        name: "alert-webhook-secret",
        env: "ALERT_WEBHOOK_SECRET",
        env_alias: None,
        default: "",
        help: "what those are signed with (HMAC-SHA256), 16 characters or more",
        secret: true,
    },
    setting(
        "alert-webhook-ca-file",
        "ALERT_WEBHOOK_CA_FILE",
        "",
        "PEM file of the authority of the webhook's certificate; the machine's own if empty",
    ),
    setting("enable-logging", "ENABLE_LOGGING", "true", "write log lines to standard error"),
    setting(
        "log-level",
        "LOG_LEVEL",
        "info",
        "error, warn, info, debug or trace, or a filter such as agentbench_server=debug; read again on SIGHUP",
    ),
    setting("log-format", "LOG_FORMAT", "pretty", "pretty or json"),
    setting(
        "health-port",
        "HEALTH_PORT",
        "0",
        "port of /healthz, /readyz and /metrics, always plain HTTP, served by a thread of its own: it answers when no worker does; 0 is none (the port of WS_PORT answers, too)",
    ),
    setting(
        "worker-timeout",
        "WORKER_TIMEOUT",
        "30000",
        "ms after which a worker thread that hangs ends the process, for its supervisor to start it again; /readyz says so after three seconds; 0 is never",
    ),
    setting(
        "log-burst",
        "LOG_BURST",
        "50",
        "lines a second of the same message; the rest is counted, and the count is written; 0 is no limit",
    ),
    setting(
        "enable-profiling",
        "ENABLE_PROFILING",
        "false",
        "administrators may take CPU profiles of this server (agentbench profile)",
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
