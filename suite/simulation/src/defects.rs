//! The names of the defects that can be planted in a world, for those who take a name from outside.
//!
//! They do something only with the feature `sabotage`.

/// What [`Setup::sabotage`](crate::Setup::sabotage) may be.
pub const NAMES: [&str; 7] = [
    "ack_before_commit",
    "forget_window",
    "starve_follower",
    "stale_head",
    "back_from_removal",
    "ghosts",
    "permit_twice",
];
