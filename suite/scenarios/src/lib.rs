//! Test scenarios, and what runs them.
//!
//! - [`definition`]: a scenario as data. [`built_in`]: those that come with the suite, a TOML file each.
//! - [`target`]: the server under test, started here or somewhere else, and the sentence if there is none.
//!   [`supervisor`]: a server that was started here, killed and started again as often as it is wanted.
//! - [`faults`]: what is done to whom, drawn from the seed. `routes`: the proxies in which faults wait. `cuts`:
//!   connections cut again and again. `disturb`: what happens to the server.
//! - [`sdk`]: what clients are made of: the Rust SDK here, or the TypeScript SDK in Node.
//! - [`fleet`]: publishers and followers on an SDK, each writing its history. `pair`, `publisher`, `follower`,
//!   `final_read`, `recorder`, [`meters`], [`payload`]: its parts.
//! - [`run`]: a scenario run and watched (`measure`), then judged (`judge`, `recovery`). `search`: many runs, for
//!   the highest load that holds. [`shrink`]: many runs, for the smallest plan that still fails.

pub mod built_in;
pub mod cuts;
pub mod definition;
mod disturb;
pub mod faults;
mod final_read;
pub mod fleet;
mod follower;
mod judge;
mod measure;
pub mod meters;
mod pair;
pub mod payload;
mod publisher;
mod recorder;
mod recovery;
pub mod routes;
pub mod run;
pub mod sdk;
mod search;
pub mod shrink;
pub mod supervisor;
pub mod target;
