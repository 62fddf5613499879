//! What can happen next, as a value that is printed and read back.
//!
//! A step names its parts by small numbers, so that it means something whatever was left out before it: a step that cannot
//! happen is nothing.

use std::fmt;
use std::str::FromStr;

use agentbench_server::simulation::NodeStep;

/// A fault of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no space.
    Full,
    /// It takes nothing now.
    Unavailable,
    /// It stores the frame, and its answer is lost.
    Lost,
    /// It does not store the frame, and cannot say so.
    Unknown,
}

/// One step. Servers, clients and sessions are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something that a server does by itself.
    Node(usize, NodeStep),
    /// Bytes of a client reach its server, at most so many.
    Up(usize, usize),
    /// Bytes of its server reach a client, at most so many.
    Down(usize, usize),
    /// A client creates the next session.
    Create(usize),
    /// A client publishes to a session.
    Publish(usize, usize),
    /// The same user's other connection, to that server, sends an event of the client again: the oldest that is not answered,
    /// or one that is. Spelt with blanks if the last is 1.
    Repeat(usize, usize, usize),
    /// A client follows a session, from its beginning.
    Follow(usize, usize),
    /// A client stops following a session.
    Unfollow(usize, usize),
    /// A client starts (0), pauses (1), resumes (2) or stops (3) a session.
    Control(usize, usize, usize),
    /// A client's connection breaks.
    Cut(usize),
    /// A client's next connection goes to this server.
    Move(usize, usize),
    /// A client's token is revoked: its connection is closed, and it gets no other one until it is permitted again.
    Revoke(usize),
    /// The client may connect again.
    Permit(usize),
    /// A client's socket takes only so many bytes more.
    Slow(usize, usize),
    /// The log's next append fails.
    Fault(Fault),
    /// A server dies and is started again.
    Crash(usize),
    /// A server's periodic work; of sessions that are not in memory, too, if the last is 1.
    Tick(usize, usize),
    /// A worker's mailbox was full: its commits are missed.
    Miss(usize, usize),
    /// Time passes, ms.
    Pass(u64),
    /// A server's wall clock is set, ms.
    Clock(usize, i64),
    /// A server removes all archived sessions.
    Retain(usize),
    /// The log of a session is removed, whatever it is doing.
    Delete(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Node(node, step) => match step {
                NodeStep::Letter(worker) => write!(f, "letter {node} {worker}"),
                NodeStep::Commit(worker) => write!(f, "commit {node} {worker}"),
                NodeStep::Submit => write!(f, "submit {node}"),
                NodeStep::Outcome => write!(f, "outcome {node}"),
                NodeStep::Load => write!(f, "load {node}"),
                NodeStep::CatchUp => write!(f, "catch-up {node}"),
                NodeStep::Read => write!(f, "read {node}"),
                NodeStep::Change => write!(f, "change {node}"),
            },
            Self::Up(client, bytes) => write!(f, "up {client} {bytes}"),
            Self::Down(client, bytes) => write!(f, "down {client} {bytes}"),
            Self::Create(client) => write!(f, "create {client}"),
            Self::Publish(client, session) => write!(f, "publish {client} {session}"),
            Self::Repeat(client, node, form) => write!(f, "repeat {client} {node} {form}"),
            Self::Follow(client, session) => write!(f, "follow {client} {session}"),
            Self::Unfollow(client, session) => write!(f, "unfollow {client} {session}"),
            Self::Control(client, session, kind) => write!(f, "control {client} {session} {kind}"),
            Self::Cut(client) => write!(f, "cut {client}"),
            Self::Move(client, node) => write!(f, "move {client} {node}"),
            Self::Revoke(client) => write!(f, "revoke {client}"),
            Self::Permit(client) => write!(f, "permit {client}"),
            Self::Slow(client, bytes) => write!(f, "slow {client} {bytes}"),
            Self::Fault(Fault::Full) => write!(f, "full"),
            Self::Fault(Fault::Unavailable) => write!(f, "unavailable"),
            Self::Fault(Fault::Lost) => write!(f, "lost"),
            Self::Fault(Fault::Unknown) => write!(f, "unknown"),
            Self::Crash(node) => write!(f, "crash {node}"),
            Self::Tick(node, sweeps) => write!(f, "tick {node} {sweeps}"),
            Self::Miss(node, worker) => write!(f, "miss {node} {worker}"),
            Self::Pass(ms) => write!(f, "pass {ms}"),
            Self::Clock(node, by) => write!(f, "clock {node} {by}"),
            Self::Retain(node) => write!(f, "retain {node}"),
            Self::Delete(session) => write!(f, "delete {session}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let numbers: Vec<i64> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| bad(text))?;
        let step = match (name, &numbers[..]) {
            ("letter", &[node, worker]) => Self::Node(at(node)?, NodeStep::Letter(at(worker)?)),
            ("commit", &[node, worker]) => Self::Node(at(node)?, NodeStep::Commit(at(worker)?)),
            ("submit", &[node]) => Self::Node(at(node)?, NodeStep::Submit),
            ("outcome", &[node]) => Self::Node(at(node)?, NodeStep::Outcome),
            ("load", &[node]) => Self::Node(at(node)?, NodeStep::Load),
            ("catch-up", &[node]) => Self::Node(at(node)?, NodeStep::CatchUp),
            ("read", &[node]) => Self::Node(at(node)?, NodeStep::Read),
            ("change", &[node]) => Self::Node(at(node)?, NodeStep::Change),
            ("up", &[client, bytes]) => Self::Up(at(client)?, at(bytes)?),
            ("down", &[client, bytes]) => Self::Down(at(client)?, at(bytes)?),
            ("create", &[client]) => Self::Create(at(client)?),
            ("publish", &[client, session]) => Self::Publish(at(client)?, at(session)?),
            ("repeat", &[client, node, form]) => Self::Repeat(at(client)?, at(node)?, at(form)?),
            ("follow", &[client, session]) => Self::Follow(at(client)?, at(session)?),
            ("unfollow", &[client, session]) => Self::Unfollow(at(client)?, at(session)?),
            ("control", &[client, session, kind]) => Self::Control(at(client)?, at(session)?, at(kind)?),
            ("cut", &[client]) => Self::Cut(at(client)?),
            ("move", &[client, node]) => Self::Move(at(client)?, at(node)?),
            ("revoke", &[client]) => Self::Revoke(at(client)?),
            ("permit", &[client]) => Self::Permit(at(client)?),
            ("slow", &[client, bytes]) => Self::Slow(at(client)?, at(bytes)?),
            ("full", []) => Self::Fault(Fault::Full),
            ("unavailable", []) => Self::Fault(Fault::Unavailable),
            ("lost", []) => Self::Fault(Fault::Lost),
            ("unknown", []) => Self::Fault(Fault::Unknown),
            ("crash", &[node]) => Self::Crash(at(node)?),
            ("tick", &[node, sweeps]) => Self::Tick(at(node)?, at(sweeps)?),
            ("miss", &[node, worker]) => Self::Miss(at(node)?, at(worker)?),
            ("pass", &[ms]) => Self::Pass(at(ms)? as u64),
            ("clock", &[node, by]) => Self::Clock(at(node)?, by),
            ("retain", &[node]) => Self::Retain(at(node)?),
            ("delete", &[session]) => Self::Delete(at(session)?),
            _ => return Err(bad(text)),
        };
        Ok(step)
    }
}

fn bad(text: &str) -> String {
    format!("{text:?} is no step of a simulation")
}

fn at(number: i64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| format!("{number} is negative"))
}
