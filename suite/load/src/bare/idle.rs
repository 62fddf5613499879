//! Many connections that have joined a session, had a little traffic, and are now idle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use anyhow::Context;

use super::Connection;
use crate::child::token;

/// The result.
#[derive(Debug)]
pub struct IdleResult {
    /// The open connections: each task reads what arrives and discards it.
    pub connections: Vec<tokio::task::JoinHandle<()>>,
    /// Time to open and join all of them.
    pub took: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Opens `count` connections, with at most `at_once` concurrent handshakes. With `join`, each group of a hundred follows one
/// session in which one event is published.
///
/// # Errors
/// A connection fails.
pub async fn idle(
    address: SocketAddr,
    count: usize,
    at_once: usize,
    join: bool,
) -> anyhow::Result<IdleResult> {
    let started = Instant::now();
    let mut connections = Vec::with_capacity(count);
    let token = token("idler", Role::Evaluator)?;
    let mut session = String::new();
    let mut serial = 0;
    while connections.len() < count {
        let batch = at_once.min(count - connections.len());
        let tasks: Vec<_> = (0..batch)
            .map(|_| {
                let token = token.clone();
                tokio::task::spawn_local(async move { Connection::open(address, &token).await })
            })
            .collect();
        for task in tasks {
            let mut connection = task.await.context("a connection panicked")??;
            if join {
                if serial % 100 == 0 {
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

/// Opens `count` sessions from one connection, a hundred commands at a time.
///
/// # Errors
/// The connection fails or a session is refused.
pub async fn open_sessions(address: SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(address, &token("opener", Role::Evaluator)?).await?;
    let mut sent = 0;
    while sent < count {
        let batch = 100.min(count - sent);
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
        if connection.readable().await.is_err() || connection.read(&mut |_| {}).await.is_err() {
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
