//! `agentbench profile`: where a running server spends its CPU, as a flame graph.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_http_client::{Request, header};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;

use crate::access::Access;
use crate::api::{self, Server};

/// Time allowed for the answer beyond the profile's own: the server resolves symbols from its debug information.
const PATIENCE: Duration = Duration::from_secs(120);
/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Address of the server, which needs ENABLE_PROFILING=true
    #[arg(long, env = "AGENTBENCH_URL", default_value = "ws://127.0.0.1:3001", conflicts_with = "pid")]
    url: String,
    /// Process id of the server on this machine, if its port does not use TLS
    #[arg(long)]
    pid: Option<u32>,
    /// Seconds to sample, 1 to 60
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// File to write: .svg for a flame graph, anything else for folded stacks as text
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// PEM file of the CA that signed the server's certificate
    #[arg(long, env = "AGENTBENCH_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// Takes a profile and writes it to the file.
///
/// # Errors
/// The server cannot be reached or refuses, or the file cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let url = match arguments.pid {
        Some(pid) => format!("http://127.0.0.1:{}", port_of(pid)?),
        None => arguments.url.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(fetch(arguments, &url))?;
    fs::write(&arguments.output, &text)
        .with_context(|| format!("cannot write {}", arguments.output.display()))?;
    outln!("wrote {} ({} bytes)", arguments.output.display(), text.len());
    Ok(ExitCode::SUCCESS)
}

async fn fetch(arguments: &Arguments, url: &str) -> anyhow::Result<String> {
    let token = arguments.access.token("profile", Role::Admin)?;
    let server = Server::new(url, arguments.ca_file.as_deref(), token)?;
    let is_svg = arguments.output.extension().is_some_and(|extension| extension == "svg");
    let accept = if is_svg { "image/svg+xml" } else { "text/plain" };
    let seconds = arguments.seconds;
    let request = Request::post(format!("/api/v1/profile?seconds={seconds}")).header(header::ACCEPT, accept);
    let answered = async {
        let response = server.send(request, Bytes::new()).await?;
        api::text(api::expect_ok(response).await?).await
    };
    let patience = Duration::from_secs(seconds) + PATIENCE;
    tokio::time::timeout(patience, answered).await.context("the server did not answer in time")?
}

/// The port that a process of this machine listens on.
fn port_of(pid: u32) -> anyhow::Result<u16> {
    let folder = Path::new("/proc").join(pid.to_string());
    let open = fs::read_dir(folder.join("fd"))
        .with_context(|| format!("cannot inspect process {pid}: does it exist, and is it yours?"))?;
    let sockets: HashSet<String> = open
        .flatten()
        .filter_map(|entry| {
            let name = fs::read_link(entry.path()).ok()?;
            Some(name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    for table in ["net/tcp", "net/tcp6"] {
        let text = fs::read_to_string(folder.join(table)).unwrap_or_default();
        if let Some(port) = listening(&text, &sockets) {
            return Ok(port);
        }
    }
    bail!("process {pid} is not listening on any port");
}

/// The port of the first listening socket in the table that is one of `sockets` (proc(5)).
fn listening(table: &str, sockets: &HashSet<String>) -> Option<u16> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let is_ours = state == LISTENING && sockets.contains(fields.nth(5)?);
        is_ours.then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port_of(std::process::id()).unwrap();
        // Other tests of this process may listen, too.
        assert!(port > 0);
        let table = "  sl  local_address rem_address st\n   0: 0100007F:0BB9 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n   1: 0100007F:1111 0100007F:2222 01 0:0 0:0 0 0 0 4712 1\n";
        let sockets = |name: &str| HashSet::from([name.to_owned()]);
        assert_eq!(listening(table, &sockets("4711")), Some(3001));
        assert_eq!(listening(table, &sockets("4712")), None);
        assert_eq!(listening("", &sockets("4711")), None);
        drop(listener);
        assert!(port_of(u32::MAX).is_err());
    }
}
