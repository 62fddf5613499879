//! Test scenarios, and the code that runs them.
//!
//! - [`definition`]: a scenario as data. [`built_in`]: the built-in scenarios, a TOML file each.
//! - [`target`]: the server under test, started here or elsewhere, and the error text if there is none.
//!   [`supervisor`]: a server that was started here, and can be killed and restarted.
//! - [`faults`]: the faults, drawn from the seed. `routes`: the proxies in which faults wait. `cuts`: connections that
//!   are cut repeatedly. `disturb`: disturbances of the server.
//! - [`sdk`]: the SDK of the clients: the Rust SDK in this process, or the TypeScript SDK in Node.
//! - [`fleet`]: publishers and followers on an SDK, each recording its history. `pair`, `publisher`, `follower`,
//!   `final_read`, `recorder`, [`meters`], [`payload`]: its parts.
//! - [`run`]: runs and observes a scenario (`measure`), then judges it (`judge`, `recovery`). `search`: many runs, to
//!   find the highest sustainable load. [`shrink`]: many runs, to find the smallest plan that still fails.
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
