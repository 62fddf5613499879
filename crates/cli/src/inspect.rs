//! `agentbench inspect`: the frames of a connection, or of all participants of a session, as they are sent and received.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use agentbench_auth::Role;
use agentbench_http_client::{Request, header};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use crate::access::Access;
use crate::api::{self, Server};

/// Longest line accepted from a server, in bytes: the server cuts payloads at 64 KiB, and escaping makes them longer.
const MAX_LINE: usize = 1024 * 1024;

#[derive(Args)]
#[command(group(clap::ArgGroup::new("target").required(true)))]
pub(crate) struct Arguments {
    /// Connection to inspect, by its id in `GET /api/v1/connections`
    #[arg(long, group = "target", value_name = "ID")]
    connection: Option<String>,
    /// Session whose participants to inspect
    #[arg(long, group = "target", value_name = "ID")]
    session: Option<String>,
    /// Words that a frame must match, or with ! must not: in, out, its opcode, type or name; separated by commas
    #[arg(long, default_value = "", value_name = "WORDS")]
    filter: String,
    /// Show payloads as well; needs the permission audit:read
    #[arg(long)]
    payloads: bool,
    /// Also write every line to this file, one JSON object each
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Stop after this number of frames
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Address of the server
    #[arg(long, env = "AGENTBENCH_URL", default_value = "ws://127.0.0.1:3001")]
    url: String,
    /// PEM file of the CA that signed the server's certificate
    #[arg(long, env = "AGENTBENCH_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// Prints frames until no connection is left to inspect.
///
/// # Errors
/// The server cannot be reached or refuses, or the file cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(arguments))?;
    Ok(ExitCode::SUCCESS)
}

/// The request path of the target. Valid ids need no escaping; any other is refused.
fn path_of(arguments: &Arguments) -> anyhow::Result<String> {
    let (kind, name) = match (&arguments.connection, &arguments.session) {
        (Some(name), _) => ("connections", name),
        (None, Some(name)) => ("sessions", name),
        (None, None) => bail!("give --connection or --session"),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        bail!("{name:?} is not the id of a connection or session");
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-!,.".contains(byte);
    if !arguments.filter.as_bytes().iter().all(allowed) {
        bail!(
            "a filter is a list of words of letters, digits, _ and -, separated by commas; ! before a word excludes it"
        );
    }
    Ok(format!("/api/v1/{kind}/{name}/frames?payloads={}&filter={}", arguments.payloads, arguments.filter))
}

async fn follow(arguments: &Arguments) -> anyhow::Result<()> {
    let path = path_of(arguments)?;
    let token = arguments.access.token("inspect", Role::Admin)?;
    let server = Server::new(&arguments.url, arguments.ca_file.as_deref(), token)?;
    let mut saved = match &arguments.save {
        Some(path) => Some(File::create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => None,
    };
    let request = Request::get(path).header(header::ACCEPT, "application/x-ndjson");
    let mut response = api::expect_ok(server.send(request, Bytes::new()).await?).await?;
    let (mut held, mut frames) = (Vec::new(), 0);
    while let Some(bytes) = response.next().await.context("the connection to the server was lost")? {
        held.extend_from_slice(&bytes);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
            if value["heartbeat"] == true {
                continue;
            }
            if let Some(file) = &mut saved {
                file.write_all(&line)?;
            }
            show(&value, &line, arguments.json);
            frames += u64::from(value["direction"].is_string());
            if arguments.limit.is_some_and(|limit| frames >= limit) {
                return Ok(());
            }
        }
        if held.len() > MAX_LINE {
            bail!("the server sent a line longer than the limit: it is not an agentbench server");
        }
    }
    Ok(())
}

fn show(line: &Value, text: &[u8], json: bool) {
    if json {
        outln!("{}", String::from_utf8_lossy(text).trim_end());
        return;
    }
    if let Some(about) = line["inspecting"].as_str() {
        eprintln!("inspecting {} (Ctrl-C to stop)", plain(about));
    } else if line["ended"] == true {
        eprintln!("no connection is left to inspect");
    } else {
        outln!("{}", sentence(line));
    }
}

/// A frame for people: time, connection, direction, type, size.
fn sentence(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().map(plain).unwrap_or_default();
    let number = |name: &str| line[name].as_u64();
    let at = number("at").unwrap_or(0);
    let clock = at / 1_000 % 86_400;
    let way = if line["direction"] == "in" { "<-" } else { "->" };
    let mut shown = format!(
        "{:02}:{:02}:{:02}.{:03} {} {way} {:<6} {:>7} B",
        clock / 3_600,
        clock / 60 % 60,
        clock % 60,
        at % 1_000,
        text("clientId"),
        text("opcode"),
        number("bytes").unwrap_or(0)
    );
    for (label, value) in [("", text("type")), ("/", text("name"))] {
        if !value.is_empty() {
            shown.push_str(if label.is_empty() { " " } else { label });
            shown.push_str(&value);
        }
    }
    for (label, value) in [("id", text("id")), ("session", text("sessionId")), ("payload", text("payload"))] {
        if !value.is_empty() {
            shown.push_str(&format!(" {label}={value}"));
        }
    }
    for label in ["seq", "code"] {
        if let Some(value) = number(label) {
            shown.push_str(&format!(" {label}={value}"));
        }
    }
    if let Some(count) = number("leftOut") {
        shown = format!("({count} frames were left out: this reader was too slow)\n{shown}");
    }
    shown
}

/// Text from a remote end, with control characters replaced so that it cannot move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_whatever_is_in_it() {
        let line = serde_json::json!({"at": 3_723_004, "clientId": "c1", "direction": "in", "opcode": "text", "bytes": 12,
            "type": "test_event", "name": "x\u{1b}[2J\n", "id": "e1", "seq": 4, "leftOut": 0});
        let shown = sentence(&serde_json::json!({"direction": "out"}));
        assert!(shown.contains("->"), "{shown}");
        let shown = sentence(&line);
        let last = shown.lines().last().unwrap();
        assert_eq!(last, "01:02:03.004 c1 <- text        12 B test_event/x?[2J? id=e1 seq=4");
    }
}
