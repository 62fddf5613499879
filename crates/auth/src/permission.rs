//! What a user may do: single permissions, sets of them, and how a token's claim is parsed as a set.

use std::fmt;

/// One permission of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Permission {
    /// Open a connection at all.
    Connect,
    /// Join, follow, replay and read a session.
    SessionRead,
    /// List sessions.
    SessionList,
    /// Create a session.
    SessionCreate,
    /// Publish events.
    SessionPublish,
    /// Start, pause, resume and stop a test.
    SessionControl,
    /// Act in every project, whatever the token's project is.
    AccessAllProjects,
    /// List the connections of the server.
    ConnectionList,
    /// Close another user's connection.
    ConnectionClose,
    /// Revoke tokens.
    TokenRevoke,
    /// Read the audit log.
    AuditRead,
    /// Drain the server.
    ServerDrain,
    /// Review a session. No role includes it: a token must name it.
    SessionReview,
}

impl Permission {
    /// Every permission, in the order of their bits.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::SessionRead,
        Self::SessionList,
        Self::SessionCreate,
        Self::SessionPublish,
        Self::SessionControl,
        Self::AccessAllProjects,
        Self::ConnectionList,
        Self::ConnectionClose,
        Self::TokenRevoke,
        Self::AuditRead,
        Self::ServerDrain,
        Self::SessionReview,
    ];

    /// The name in tokens and in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "websocket:connect",
            Self::SessionRead => "session:read",
            Self::SessionList => "session:list",
            Self::SessionCreate => "session:create",
            Self::SessionPublish => "session:publish",
            Self::SessionControl => "session:control",
            Self::AccessAllProjects => "access:all_projects",
            Self::ConnectionList => "connection:list",
            Self::ConnectionClose => "connection:close",
            Self::TokenRevoke => "token:revoke",
            Self::AuditRead => "audit:read",
            Self::ServerDrain => "server:drain",
            Self::SessionReview => "session:review",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The claim's value for [`Permissions::ALL`].
const EVERYTHING: &str = "*";
/// The claim's value for [`Permissions::RUN_AUTOMATED_TESTS`].
const AUTOMATED_TESTS: &str = "run:automated_tests";

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u32);

impl Permissions {
    /// No permission.
    pub const NONE: Self = Self(0);
    /// Every permission: the meaning of `*` in a token.
    pub const ALL: Self = Self::of(&Permission::ALL);
    /// The meaning of `run:automated_tests` in a token.
    pub const RUN_AUTOMATED_TESTS: Self =
        Self::of(&[Permission::SessionCreate, Permission::SessionPublish, Permission::SessionControl]);

    /// The set of these permissions.
    pub const fn of(list: &[Permission]) -> Self {
        let mut bits = 0;
        let mut next = 0;
        while next < list.len() {
            bits |= list[next].bit();
            next += 1;
        }
        Self(bits)
    }

    /// The permissions of a token's `permissions` claim. An unknown string is ignored: the same token may
    /// contain permissions of other services.
    pub fn from_claim<S: AsRef<str>>(strings: &[S]) -> Self {
        strings.iter().fold(Self::NONE, |set, text| set.union(Self::from_claim_string(text.as_ref())))
    }

    /// The values of the claim that are known here.
    pub fn claim_words() -> impl Iterator<Item = &'static str> {
        Permission::ALL.into_iter().map(Permission::as_str).chain([EVERYTHING, AUTOMATED_TESTS])
    }

    fn from_claim_string(text: &str) -> Self {
        match text {
            EVERYTHING => Self::ALL,
            AUTOMATED_TESTS => Self::RUN_AUTOMATED_TESTS,
            name => Permission::ALL
                .into_iter()
                .find(|permission| permission.as_str() == name)
                .map_or(Self::NONE, |permission| Self(permission.bit())),
        }
    }

    /// Whether the set has this permission.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// The union of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The permissions of the set, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_claim_permits_something() {
        assert!(Permissions::claim_words().all(|word| Permissions::from_claim(&[word]) != Permissions::NONE));
    }

    #[test]
    fn every_permission_has_its_own_bit_and_name() {
        assert_eq!(Permissions::ALL.iter().count(), Permission::ALL.len());
        for permission in Permission::ALL {
            let alone = Permissions::of(&[permission]);
            assert_eq!(alone.iter().collect::<Vec<_>>(), [permission]);
            assert_eq!(Permissions::from_claim(&[permission.as_str()]), alone);
        }
    }
}
