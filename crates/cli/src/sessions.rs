//! `agentbench sessions`: lists, follows and writes sessions from a shell.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_client::{
    Client, Config, Data, Error, Event, Item, NewSession, Outcome, SessionId, SessionInfo, StartAt, Status,
    Ticket,
};
use agentbench_http_client::Request;
use agentbench_protocol::Outcome as TestOutcome;
use agentbench_scenarios::target::sentence;
use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use tokio::sync::mpsc;

use crate::access::Access;
use crate::api::{self, Server};

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a publish waits for its ack, across reconnects.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Entries per page of an export.
const PAGE: u32 = 500;
/// Lines read ahead of what was sent.
const LINES_AHEAD: usize = 256;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Address of the server
    #[arg(long, global = true, env = "AGENTBENCH_URL", default_value = "ws://127.0.0.1:3001")]
    url: String,
    /// PEM file of the CA that signed the certificate of a wss:// server; the system's CAs if not given
    #[arg(long, global = true, env = "AGENTBENCH_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// Print JSON, one value per line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List sessions, newest first
    List {
        /// Only sessions with this status
        #[arg(long)]
        status: Option<StatusName>,
        /// Only sessions of this project
        #[arg(long)]
        project: Option<String>,
        /// Maximum number of sessions
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one session
    Show {
        /// Id of the session
        session: SessionId,
    },
    /// Create a session and print its id
    Create {
        /// Project of the session
        #[arg(long, default_value = "default")]
        project: String,
        /// Test case to run
        #[arg(long, default_value = "default")]
        test: String,
        /// Agent under test
        #[arg(long, default_value = "agent")]
        agent: String,
        /// Also start the test
        #[arg(long)]
        start: bool,
    },
    /// End a session whose test was started
    Stop {
        /// Id of the session
        session: SessionId,
        /// Reason to record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Follow a session live until it ends
    Tail {
        /// Id of the session
        session: SessionId,
        /// Where to start: with the newest events or at the beginning
        #[arg(long, default_value = "live")]
        from: From,
    },
    /// Publish events from standard input, one JSON object per line
    Publish {
        /// Id of the session
        session: SessionId,
    },
    /// Write a session's whole log: JSON lines, or one HTML page with the evidence that opens without a server
    Export {
        /// Id of the session
        session: SessionId,
        /// jsonl or html
        #[arg(long, default_value = "jsonl")]
        format: Format,
        /// File to write; standard output if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
    Html,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Live,
    Start,
}

#[derive(Clone, Copy, ValueEnum)]
enum StatusName {
    Idle,
    Running,
    Paused,
    Completed,
    Error,
    Expired,
}

impl StatusName {
    const fn status(self) -> Status {
        match self {
            Self::Idle => Status::Idle,
            Self::Running => Status::Running,
            Self::Paused => Status::Paused,
            Self::Completed => Status::Completed,
            Self::Error => Status::Error,
            Self::Expired => Status::Expired,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(connect_and_run(arguments));
    // A thread may still be blocked on standard input.
    runtime.shutdown_background();
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast::<Error>() {
            Ok(refused @ Error::Refused(_)) => {
                eprintln!("agentbench: {refused}");
                Ok(ExitCode::FAILURE)
            }
            Ok(error) => Err(error.into()),
            Err(error) => Err(error),
        },
        done => done,
    }
}

/// Whether the reader of our output closed the pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn connect_and_run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let token = arguments.access.token("me", Role::Admin)?;
    if let Command::Export { session, format: Format::Html, output } = &arguments.command {
        let server = Server::new(&arguments.url, arguments.ca_file.as_deref(), token)?;
        return export_page(&server, *session, output.as_deref()).await;
    }
    let mut config =
        Config::new(&arguments.url).token(token).connect_timeout(CONNECT_TIMEOUT).ack_timeout(ACK_TIMEOUT);
    if let Some(path) = &arguments.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        config = config.authority(pem);
    }
    let client = match Client::connect(config).await {
        Ok(client) => client,
        Err(error) => anyhow::bail!("{}", sentence(&arguments.url, &error)),
    };
    let json = arguments.json;
    let code = match &arguments.command {
        Command::List { status, project, limit } => {
            list(&client, status.map(StatusName::status), project.clone(), *limit, json).await?
        }
        Command::Show { session } => show(&client.get_session_info(*session).await?, json)?,
        Command::Create { project, test, agent, start } => {
            let created = client.create_session(NewSession::new(project, test, agent)).await?;
            if *start {
                client.start_test(created.session_id).await?;
            }
            let session = client.get_session_info(created.session_id).await?;
            if json {
                show(&session, json)?
            } else {
                writeln!(crate::output::out(), "{}", session.session_id)?;
                ExitCode::SUCCESS
            }
        }
        Command::Stop { session, reason } => {
            client.stop_test(*session, TestOutcome::Completed, reason.clone()).await?;
            ExitCode::SUCCESS
        }
        Command::Tail { session, from } => tail(&client, *session, *from, json).await?,
        Command::Publish { session } => publish(&client, *session, json).await?,
        Command::Export { session, output, .. } => export(&client, *session, output.as_deref()).await?,
    };
    client.close().await;
    Ok(code)
}

async fn list(
    client: &Client,
    status: Option<Status>,
    project: Option<String>,
    limit: usize,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut out = crate::output::out();
    let (mut shown, mut cursor) = (0, None);
    if !json {
        writeln!(out, "{:<36}  {:<9}  {:>8}  {:<16}  agent", "session", "status", "events", "project")?;
    }
    while shown < limit {
        let page = client.list(status, project.clone(), cursor).await?;
        for session in page.sessions.iter().take(limit - shown) {
            if json {
                writeln!(out, "{}", serde_json::to_string(session)?)?;
            } else {
                let (status, head) = (session.status.as_str(), session.head_seq);
                let (id, project, agent) = (session.session_id, &session.project_id, &session.agent_name);
                writeln!(out, "{id}  {status:<9}  {head:>8}  {project:<16}  {agent}")?;
            }
        }
        shown += page.sessions.len();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(session: &SessionInfo, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json { serde_json::to_string(session)? } else { serde_json::to_string_pretty(session)? };
    writeln!(crate::output::out(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

async fn tail(client: &Client, session: SessionId, from: From, json: bool) -> anyhow::Result<ExitCode> {
    let start = match from {
        From::Live => StartAt::Live,
        From::Start => StartAt::Start,
    };
    let mut follow = client.follow(session, start).await?;
    while let Some(item) = follow.next().await {
        write_item(&item, json)?;
    }
    match follow.ended() {
        Some(error) => Err(error.clone().into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Writes entries of the log to standard output, and everything else to standard error.
fn write_item(item: &Item, json: bool) -> anyhow::Result<()> {
    let entry = match item {
        Item::Event(entry) => entry,
        Item::Lifecycle(lifecycle) => &lifecycle.entry,
        Item::Gap(gap) => {
            let (from, to, cause) = (gap.from, gap.to, gap.cause.as_str());
            eprintln!(
                "-- gap: {from} to {to} ({cause}){}",
                if gap.history { ", in the history" } else { "" }
            );
            return Ok(());
        }
        Item::Disconnected(why) => {
            eprintln!("-- disconnected: {}", why.detail);
            return Ok(());
        }
        Item::Resumed(resumed) => {
            eprintln!("-- resumed after {}", resumed.from.seq);
            return Ok(());
        }
        Item::NotRecovered { was, from, .. } => {
            eprintln!("-- position {} cannot be resumed; continuing after {}", was.seq, from.seq);
            return Ok(());
        }
        Item::Violation(violation) => {
            eprintln!("-- the server skipped {} to {}", violation.expected, violation.got.saturating_sub(1));
            return Ok(());
        }
        Item::Late(entry) => {
            eprintln!("-- {} arrived late, after newer events", entry.seq);
            entry
        }
        Item::Presence { .. } => return Ok(()),
    };
    let mut out = crate::output::out();
    if json {
        writeln!(out, "{}", entry.json())?;
    } else {
        writeln!(out, "{:>8}  {}", entry.seq, entry.data())?;
    }
    out.flush()?;
    Ok(())
}

/// Outcomes of the lines so far.
#[derive(Default)]
struct Tally {
    stored: u64,
    failed: u64,
}

async fn publish(client: &Client, session: SessionId, json: bool) -> anyhow::Result<ExitCode> {
    client.publisher(session).await?;
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            // The command has ended.
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut tally = Tally::default();
    let mut waiting: VecDeque<(u64, Ticket)> = VecDeque::new();
    let (mut number, mut is_open) = (0, true);
    while is_open || !waiting.is_empty() {
        tokio::select! {
            biased;
            (line, outcome) = oldest(&mut waiting) => {
                waiting.pop_front();
                report_outcome(line, &outcome, json, &mut tally)?;
            }
            line = lines.recv(), if is_open => match line {
                None => is_open = false,
                Some(line) => {
                    number += 1;
                    let line = line.context("cannot read standard input")?;
                    if line.trim().is_empty() {
                        continue;
                    }
                    match Data::raw(line) {
                        Ok(data) => {
                            let ticket = client.publish(session, Event::new(data)).await?;
                            waiting.push_back((number, ticket));
                        }
                        Err(error) => {
                            eprintln!("agentbench: line {number}: {error}");
                            tally.failed += 1;
                        }
                    }
                }
            }
        }
    }
    if !json {
        eprintln!("{} stored, {} not", tally.stored, tally.failed);
    }
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn oldest(waiting: &mut VecDeque<(u64, Ticket)>) -> (u64, Outcome) {
    match waiting.front_mut() {
        Some((line, ticket)) => (*line, ticket.await),
        None => std::future::pending().await,
    }
}

fn report_outcome(line: u64, outcome: &Outcome, json: bool, tally: &mut Tally) -> anyhow::Result<()> {
    let shown = match outcome {
        Outcome::Stored { seq, duplicate, warnings, .. } => {
            tally.stored += 1;
            let mut stored =
                serde_json::json!({"line": line, "outcome": "stored", "seq": seq, "duplicate": duplicate});
            if !warnings.is_empty() {
                let details: Vec<&str> = warnings.iter().map(|warning| &*warning.detail).collect();
                eprintln!("agentbench: line {line} was stored with a warning: {}", details.join("; "));
                stored["warnings"] = serde_json::json!(warnings);
            }
            stored
        }
        Outcome::Refused(why) => {
            tally.failed += 1;
            eprintln!("agentbench: line {line} was refused: {}: {}", why.code, why.error);
            serde_json::json!({"line": line, "outcome": "refused", "code": why.code, "error": why.error})
        }
        Outcome::Unknown { why, sent } => {
            tally.failed += 1;
            let whether = if *sent { "may have been stored" } else { "was not sent" };
            eprintln!("agentbench: line {line} {whether}: {why}");
            let outcome = if *sent { "unknown" } else { "unsent" };
            serde_json::json!({"line": line, "outcome": outcome, "error": why.to_string()})
        }
    };
    if json {
        writeln!(crate::output::out(), "{shown}")?;
    }
    Ok(())
}

/// Destination of an export. A file gets its final name only when it is complete, so that a partial one is never mistaken
/// for it.
enum Target {
    Output(crate::output::Out),
    File { file: std::fs::File, partial: PathBuf, path: PathBuf },
}

impl Target {
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Output(crate::output::out())) };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        let (partial, path) = (PathBuf::from(partial), path.to_owned());
        let file =
            std::fs::File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
        Ok(Self::File { file, partial, path })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Output(out) => out.write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Output(mut out) => out.flush()?,
            Self::File { file, partial, path } => {
                file.sync_all()?;
                std::fs::rename(&partial, &path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Exports the HTML page that the server renders, as it arrives.
async fn export_page(server: &Server, session: SessionId, output: Option<&Path>) -> anyhow::Result<ExitCode> {
    let request = Request::get(format!("/api/v1/sessions/{session}/export?format=html"));
    let mut response = server.send_in_time(request, Bytes::new()).await?;
    if !response.status().is_success() {
        eprintln!("agentbench: {}", api::refusal(response).await?);
        return Ok(ExitCode::FAILURE);
    }
    let mut target = Target::open(output)?;
    while let Some(piece) = api::next(&mut response).await? {
        target.write(&piece)?;
    }
    target.finish()?;
    Ok(ExitCode::SUCCESS)
}

async fn export(client: &Client, session: SessionId, output: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut target = Target::open(output)?;
    let mut next = Some(1);
    while let Some(from) = next {
        let page = client.get_history(session, from, PAGE).await?;
        let mut lines = String::new();
        for event in &page.events {
            lines.push_str(event.get());
            lines.push('\n');
        }
        target.write(lines.as_bytes())?;
        next = page.next_seq;
    }
    target.finish()?;
    Ok(ExitCode::SUCCESS)
}
