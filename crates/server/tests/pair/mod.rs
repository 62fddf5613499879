//! Owners and delivery on one thread: the product's own sessions, fan-out and catch-up, with a log in memory, readers behind
//! pipes, and a manual clock. Part of the library's tests, since all of it is private.

mod client;
mod delivering;
mod owning;
mod schedules;
mod world;
mod writers;
