//! Owners and delivery in one thread: the product's own sessions, fan-out and catch-up on a log in memory, readers at the other
//! end of pipes, and a clock that is moved by hand. Built into the library's tests, since all of it is private.

mod client;
mod delivering;
mod owning;
mod schedules;
mod world;
