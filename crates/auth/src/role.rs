//! The roles of users, and the table of their permissions.

use std::fmt;
use std::str::FromStr;

use crate::permission::{Permission, Permissions};

/// A user's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs the server: everything an evaluator may do, in all projects, and the administration of the server.
    Admin,
    /// Runs evaluations.
    Evaluator,
    /// Watches.
    Viewer,
}

/// A name that is not a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the role must be one of admin, evaluator, viewer")]
pub struct UnknownRole;

const VIEWER: Permissions =
    Permissions::of(&[Permission::Connect, Permission::SessionRead, Permission::SessionList]);
const EVALUATOR: Permissions = VIEWER.union(Permissions::of(&[
    Permission::SessionCreate,
    Permission::SessionPublish,
    Permission::SessionControl,
]));
const ADMIN: Permissions = EVALUATOR.union(Permissions::of(&[
    Permission::AccessAllProjects,
    Permission::ConnectionList,
    Permission::ConnectionClose,
    Permission::TokenRevoke,
    Permission::AuditRead,
    Permission::ServerDrain,
]));

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Evaluator, Self::Viewer];

    /// The name in tokens and in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Evaluator => "evaluator",
            Self::Viewer => "viewer",
        }
    }

    /// The permissions of the role alone.
    pub const fn permissions(self) -> Permissions {
        match self {
            Self::Admin => ADMIN,
            Self::Evaluator => EVALUATOR,
            Self::Viewer => VIEWER,
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == name).ok_or(UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
