//! Many connections that have joined a session, had a little traffic, and are now idle.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use anyhow::Context;

use super::Connection;
use crate::child::token;
use crate::target::Place;

/// The result.
#[derive(Debug)]
pub struct IdleResult {
    /// The open connections: each task reads what arrives, answers pings, and discards the rest.
    pub connections: Vec<tokio::task::JoinHandle<()>>,
    /// Time to open and join all of them.
    pub took: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Opens a connection for each number of `serials`, with at most `at_once` concurrent handshakes. With `join`, each group of a
/// hundred follows one session; equal numbers mean the same session, and a range begins at a multiple of a hundred.
///
/// # Errors
/// A connection fails.
pub async fn idle(
    address: SocketAddr,
    serials: Range<usize>,
    at_once: usize,
    join: bool,
) -> anyhow::Result<IdleResult> {
    let (started, count, place) = (Instant::now(), serials.len(), Place::at(address));
    let mut connections = Vec::with_capacity(count);
    let token = token("idler", Role::Evaluator)?;
    let mut session = String::new();
    let mut serial = serials.start;
    while connections.len() < count {
        let batch = at_once.min(count - connections.len());
        let tasks: Vec<_> = (0..batch)
            .map(|index| {
                let (token, source) = (token.clone(), place.source(serial + index));
                tokio::task::spawn_local(async move { Connection::open_from(source, address, &token).await })
            })
            .collect();
        for task in tasks {
            let mut connection = task.await.context("a connection panicked")??;
            if join {
                if serial.is_multiple_of(100) {
                    session = open_named(&mut connection, serial).await?;
                } else {
                    let data =
                        serde_json::json!({"command": "join_session", "sessionId": session, "from": "start"});
                    connection.command(&data).await?;
                }
            }
            serial += 1;
            connections.push(tokio::task::spawn_local(stay_idle(connection)));
        }
    }
    Ok(IdleResult { connections, took: started.elapsed() })
}

/// Opens a session for each number of `serials` from one connection, a hundred commands at a time.
///
/// # Errors
/// The connection fails or a session is refused.
pub async fn open_sessions(address: SocketAddr, serials: Range<usize>) -> anyhow::Result<()> {
    let mut connection = Connection::open(address, &token("opener", Role::Evaluator)?).await?;
    let mut sent = serials.start;
    while sent < serials.end {
        let batch = 100.min(serials.end - sent);
        for serial in sent..sent + batch {
            let message = serde_json::json!({"id": format!("open-{serial}"), "type": "control_command", "timestamp": 1,
                "data": {"command": "create_session", "projectId": "load", "testId": "many", "agentName": "load"}});
            connection.queue(message.to_string().as_bytes());
        }
        connection.write().await?;
        let (mut opened, mut refused) = (0, 0);
        while opened < batch {
            connection
                .read(&mut |text| {
                    opened += usize::from(text.contains("\"session_created\""));
                    refused += usize::from(text.contains("\"type\":\"error\""));
                })
                .await?;
            anyhow::ensure!(refused == 0, "a session was refused");
        }
        sent += batch;
    }
    Ok(())
}

async fn stay_idle(mut connection: Connection) {
    loop {
        connection.shrink();
        if connection.readable().await.is_err()
            || connection.read(&mut |_| {}).await.is_err()
            || connection.write().await.is_err()
        {
            return;
        }
    }
}

impl Drop for IdleResult {
    fn drop(&mut self) {
        self.connections.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn open_named(connection: &mut Connection, serial: usize) -> anyhow::Result<String> {
    if serial == 0 {
        return connection.open_session().await;
    }
    let data = serde_json::json!({"command": "create_session", "projectId": "load", "testId": "idle", "agentName": "load"});
    let created = connection.command_as(&format!("create-{serial}"), &data).await?;
    Ok(created["sessionId"].as_str().context("no sessionId in the reply")?.to_owned())
}
