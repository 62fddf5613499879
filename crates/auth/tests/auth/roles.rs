//! The table of the protocol's roles, what a token can add to it, and what a project takes away.

use agentbench_auth::{Grant, Permission, Permissions, Role};
use serde_json::{Value, json};

use crate::minting::{judged, payload};

/// permission, admin, evaluator, viewer: as in the protocol. What is not in its table, no role has.
const TABLE: [(&str, bool, bool, bool); 13] = [
    ("websocket:connect", true, true, true),
    ("session:read", true, true, true),
    ("session:list", true, true, true),
    ("session:create", true, true, false),
    ("session:publish", true, true, false),
    ("session:control", true, true, false),
    ("access:all_projects", true, false, false),
    ("connection:list", true, false, false),
    ("connection:close", true, false, false),
    ("token:revoke", true, false, false),
    ("audit:read", true, false, false),
    ("server:drain", true, false, false),
    ("session:review", false, false, false),
];

fn grant(changes: &Value) -> Grant {
    judged(&payload(changes).to_string()).unwrap()
}

#[test]
fn each_role_may_do_what_the_table_says() {
    assert_eq!(TABLE.map(|row| row.0), Permission::ALL.map(Permission::as_str));
    for (row, permission) in TABLE.iter().zip(Permission::ALL) {
        for (role, may) in [(Role::Admin, row.1), (Role::Evaluator, row.2), (Role::Viewer, row.3)] {
            let grant = grant(&json!({"role": role.as_str()}));
            assert_eq!(grant.role, role);
            assert_eq!(grant.allows(permission), may, "{role}: {permission}");
        }
    }
}

#[test]
fn a_token_adds_to_its_role_and_takes_nothing_away() {
    let viewer = Role::Viewer.permissions();
    let with = |more: &[Permission]| viewer.union(Permissions::of(more));
    let publisher = [Permission::SessionCreate, Permission::SessionPublish, Permission::SessionControl];
    let cases = [
        (json!([]), viewer),
        (json!(["session:read"]), viewer),
        (json!(["audit:read"]), with(&[Permission::AuditRead])),
        (
            json!(["session:review", "token:revoke"]),
            with(&[Permission::SessionReview, Permission::TokenRevoke]),
        ),
        (json!(["run:automated_tests"]), with(&publisher)),
        (json!(["*"]), Permissions::ALL),
        (json!(["billing:pay", "", "session:*", "**", "SESSION:CREATE", "session:create "]), viewer),
    ];
    for (permissions, set) in cases {
        let grant = grant(&json!({"role": "viewer", "permissions": permissions}));
        assert_eq!(grant.permissions, set, "{permissions}");
    }
}

#[test]
fn a_project_holds_its_user_to_it() {
    let cases = [
        (json!({"role": "evaluator"}), [true, true]),
        (json!({"role": "viewer"}), [true, true]),
        (json!({"role": "evaluator", "projectId": "p1"}), [true, false]),
        (json!({"role": "viewer", "projectId": "p1"}), [true, false]),
        (json!({"role": "admin", "projectId": "p1"}), [true, true]),
        (json!({"role": "viewer", "projectId": "p1", "permissions": ["access:all_projects"]}), [true, true]),
        (json!({"role": "viewer", "projectId": "p1", "permissions": ["*"]}), [true, true]),
        (json!({"role": "evaluator", "projectId": "p"}), [false, false]),
        (json!({"role": "evaluator", "projectId": "P1"}), [false, false]),
        (json!({"role": "evaluator", "projectId": "*"}), [false, false]),
    ];
    for (claims, expected) in cases {
        let grant = grant(&claims);
        assert_eq!(["p1", "p2"].map(|project| grant.may_access(project)), expected, "{claims}");
    }
}

#[test]
fn sets_are_shown_by_name() {
    assert_eq!(format!("{:?}", Permissions::of(&[Permission::AuditRead])), r#"{"audit:read"}"#);
}
