//! Rules shared by WebSocket and HTTP: permissions and costs of commands and events, and the parsing of session ids.

use agentbench_auth::Permission;
use agentbench_protocol::{Authorship, Command, ErrorCode, Outline, Refusal, SessionId};
use sha2::{Digest, Sha256};

/// The token of an `Authorization` header's value (RFC 6750 §2.1).
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The refusal of an unknown session.
pub(crate) fn no_such_session() -> Refusal {
    Refusal::new(ErrorCode::SessionNotFound, "there is no such session")
}

/// Parses a session id. An invalid id is refused like an unknown session.
pub(crate) fn parse_session_id(name: &str) -> Result<SessionId, Refusal> {
    name.parse().map_err(|_| no_such_session())
}

/// The id of the session that this user creates with this command: a repeated command gets the same session, on any worker
/// and after a restart (a UUID of version 8, RFC 9562 §5.8, from SHA-256).
pub(crate) fn derive_session_id(user: &str, command: &str) -> SessionId {
    let mut hash = Sha256::new();
    hash.update((user.len() as u64).to_le_bytes());
    hash.update(user.as_bytes());
    hash.update(command.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    let bits = u128::from_be_bytes(bytes);
    let version = (bits & !(0xf << 76)) | (8 << 76);
    SessionId::from_u128((version & !(0x3 << 62)) | (0x2 << 62))
}

/// The permission to publish an event: agents do not review themselves, and reviewers do not publish for agents.
pub(crate) fn publish_permission(outline: Outline) -> Permission {
    match outline.author {
        Authorship::Publisher => Permission::SessionPublish,
        Authorship::Reviewer => Permission::SessionReview,
    }
}

/// The refusal of an event for lack of that permission.
pub(crate) fn may_not_publish(outline: Outline) -> Refusal {
    let needed = publish_permission(outline);
    Refusal::new(
        ErrorCode::Forbidden,
        format!("the token does not permit publishing this: it needs {needed}"),
    )
}

/// The number of messages that a command counts as, by the work it causes: an event takes some 5 µs, a page of sessions or
/// of history a hundred, a search up to two thousand.
pub(crate) fn cost_of(command: &Command) -> u64 {
    match command {
        Command::GetSessionList(query) if query.q.is_some() => COST_OF_SEARCH,
        Command::GetSessionList(_)
        | Command::GetHistory { .. }
        | Command::ReplaySession { .. }
        | Command::GetStats => COST_OF_PAGE,
        _ => 1,
    }
}

/// See [`cost_of`].
pub(crate) const COST_OF_PAGE: u64 = 20;
/// See [`cost_of`].
pub(crate) const COST_OF_SEARCH: u64 = 200;

/// The permission that a command needs; `None` if any token suffices.
pub(crate) fn permission_for(command: &Command) -> Option<Permission> {
    Some(match command {
        Command::CreateSession(_) => Permission::SessionCreate,
        Command::JoinSession { .. }
        | Command::GetSessionInfo { .. }
        | Command::GetHistory { .. }
        | Command::ReplaySession { .. } => Permission::SessionRead,
        Command::GetSessionList(_) => Permission::SessionList,
        Command::GetStats => Permission::ConnectionList,
        Command::StartTest { .. }
        | Command::PauseTest { .. }
        | Command::ResumeTest { .. }
        | Command::StopTest { .. } => Permission::SessionControl,
        Command::LeaveSession { .. } | Command::StopReplay { .. } | Command::RefreshToken { .. } => {
            return None;
        }
    })
}

/// Whether an allowed command is recorded in the audit log.
pub(crate) fn is_audited(command: &Command) -> bool {
    !matches!(
        command,
        Command::LeaveSession { .. }
            | Command::StopReplay { .. }
            | Command::GetSessionList(_)
            | Command::GetSessionInfo { .. }
            | Command::GetStats
    )
}
