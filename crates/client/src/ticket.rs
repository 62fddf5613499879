//! Waiting for the outcome of a publish.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::outcome::{Ended, GaveUp, Outcome};

/// A pending publish; awaiting it yields its [`Outcome`]. Dropping it does not affect the publish.
#[derive(Debug)]
pub struct Ticket(pub(crate) oneshot::Receiver<Outcome>);

impl Future for Ticket {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|received| {
            // The sender is dropped only with the whole client.
            received.unwrap_or(Outcome::Unknown { why: GaveUp::Ended(Ended::Closed), sent: true })
        })
    }
}
