//! References generated from the code: the JSON Schemas of the protocol, of events' data and of the suite's report, the description of the
//! HTTP API, the table of settings, the alert rules for Prometheus. A freshness test prevents the documents from contradicting the
//! code.
//!
//! `cargo xtask codegen` and `cargo xtask tidy` run it. It is a separate program because it depends on the whole server, which
//! the task runner would otherwise build in debug before the first task of a fresh checkout.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use agentbench_protocol::command::{CreateSession, GetSessionList};
use agentbench_protocol::message::{ErrorData, Sender};
use agentbench_protocol::{ErrorCode, MessageType, Priority, SessionInfo, SystemMessage};
use agentbench_server::config::SETTINGS;
use anyhow::Context;
use schemars::schema_for;

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("write") => write(),
        Some("stale") => stale().map(|stale| stale.iter().for_each(|line| println!("{line}"))),
        _ => Err(anyhow::anyhow!(
            "the argument must be `write`, or `stale` to print stale files, one per line"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask-codegen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask/codegen lies in the workspace")
}

/// Each generated file with its content.
fn files() -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut schema = serde_json::to_string_pretty(&protocol_schema())?;
    schema.push('\n');
    let mut api = serde_json::to_string_pretty(&agentbench_server::openapi())?;
    api.push('\n');
    Ok(BTreeMap::from([
        ("docs/events.schema.json", events_schema()?),
        ("docs/protocol.schema.json", schema),
        ("docs/openapi.json", api),
        ("docs/report.schema.json", report_schema()?),
        ("docs/settings.md", settings()?),
        ("docs/deploy/prometheus-rules.yml", agentbench_server::prometheus_rules()),
    ]))
}

/// Writes all of them.
fn write() -> anyhow::Result<()> {
    for (path, content) in files()? {
        fs::write(root().join(path), content)?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Reports files that do not match the code.
fn stale() -> anyhow::Result<Vec<String>> {
    let stale = files()?.into_iter().filter(|(path, content)| {
        fs::read_to_string(root().join(path)).is_ok_and(|found| found == *content).then_some(()).is_none()
    });
    Ok(stale.map(|(path, _)| format!("{path} is stale: run cargo xtask codegen")).collect())
}

fn protocol_schema() -> serde_json::Value {
    let metadata = serde_json::json!({
        "type": "object",
        "properties": {
            "priority": schema_for!(Priority),
            "requiresAck": {"type": "boolean"},
            "retryCount": {"type": "integer", "minimum": 0},
            "ttl": {"type": "integer", "minimum": 0, "maximum": agentbench_protocol::limits::MAX_TTL_MS},
            "checksum": {"type": "string", "pattern": "^crc32c:[0-9a-fA-F]{8}$"},
            "traceparent": {"type": "string"}
        }
    });
    let envelope = serde_json::json!({
        "type": "object",
        "required": ["id", "type", "timestamp", "data"],
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": agentbench_protocol::limits::MAX_ID_CHARS},
            "type": schema_for!(MessageType),
            "timestamp": {"type": "number", "minimum": 0},
            "sessionId": {"type": "string", "format": "uuid"},
            "data": {"type": "object"},
            "metadata": metadata,
            "seq": {"type": "integer", "minimum": 1, "description": "added by the server on entries of a log"},
            "receivedAt": {"type": "integer", "description": "ms since 1970, added by the server"},
            "sender": schema_for!(Sender),
            "replay": {"type": "boolean"}
        }
    });
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AgentBench realtime, protocol version 1",
        "description": "Made from the code by `cargo xtask codegen`. A frame holds one envelope or an array of them.",
        "oneOf": [{"$ref": "#/$defs/Envelope"}, {"type": "array", "items": {"$ref": "#/$defs/Envelope"}}],
        "$defs": {
            "Envelope": envelope,
            "CreateSession": schema_for!(CreateSession),
            "GetSessionList": schema_for!(GetSessionList),
            "SystemMessage": schema_for!(SystemMessage),
            "SessionInfo": schema_for!(SessionInfo),
            "ErrorData": schema_for!(ErrorData),
            "ErrorCode": schema_for!(ErrorCode)
        }
    })
}

fn events_schema() -> anyhow::Result<String> {
    let mut schema = schema_for!(agentbench_protocol::events::EventData);
    schema.insert("title".to_owned(), "AgentBench realtime, data of events".into());
    let kinds =
        schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut).context("the kinds of events")?;
    let other = kinds.pop().context("the last kind is any other")?;
    let known: Vec<_> = kinds.iter().map(|kind| kind["properties"]["eventType"]["const"].clone()).collect();
    // The types can only express "any other"; the schema can exclude the known ones.
    let event_type = serde_json::json!({"type": "string", "not": {"enum": known}});
    kinds.push(serde_json::json!({
        "description": other["description"],
        "type": "object",
        "properties": {"eventType": event_type},
        "required": ["eventType"]
    }));
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn report_schema() -> anyhow::Result<String> {
    let mut schema = schema_for!(agentbench_report::Report);
    let title = format!("AgentBench realtime, report version {}", agentbench_report::schema::REPORT_VERSION);
    schema.insert("title".to_owned(), title.into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn settings() -> anyhow::Result<String> {
    let mut page = String::from(
        "# Settings\n\nMade from the code by `cargo xtask codegen`. Flags (`--max-sessions 5`) override environment variables, which override \
         `agentbench.toml` (`max_sessions = 5`), which overrides the defaults. `agentbench serve --print-config` shows each value and its source.\n\n\
         | flag | variable | default | what it is |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let alias = setting.env_alias.map(|alias| format!(" or `{alias}`")).unwrap_or_default();
        let default = if setting.default.is_empty() { "" } else { setting.default };
        writeln!(page, "| `--{}` | `{}`{alias} | {default} | {} |", setting.name, setting.env, setting.help)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_files_are_fresh() {
        assert_eq!(super::stale().unwrap(), Vec::<String>::new());
    }
}
