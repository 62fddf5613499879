//! The codec's proof, in the order in which to read it.
//!
//! - `rfc_examples`: the byte strings printed in the RFCs.
//! - `violations`: one row per way to break the rules.
//! - `limits`: sizes, memory, and what is held between messages.
//! - `opening`: handshake heads and the negotiation of compression.
//! - `client_opening`: what a client makes of any answer, in pieces of any size.
//! - `properties`: any messages, cut anywhere; any bytes at all.
//! - `differential`: the same streams, sound and damaged, through another implementation.
//! - `autobahn`: the cases of the Autobahn test suite against an echo endpoint, for both roles.
//!
//! `support` alone knows how the codec is called; the others hold cases.

mod autobahn;
mod client_opening;
mod differential;
mod limits;
mod opening;
mod properties;
mod rfc_examples;
mod support;
mod violations;
