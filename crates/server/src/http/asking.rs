//! Asking a session's owner in the name of an exchange, and waiting for its answer.

use std::time::Duration;

use agentbench_protocol::{ErrorCode, Refusal, SessionId};

use super::access::Caller;
use super::answer::Answer;
use super::api::Api;
use crate::letters::exchange::{Exchange, ExchangeReply};
use crate::letters::{OwnerLetter, Request};

/// Longest time that a request waits for an owner: the log answers within milliseconds, or something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sends a request to a session's owner, in the name of an exchange.
pub(crate) fn ask(api: &Api, caller: &Caller, exchange: &Exchange, session: SessionId, request: Request) {
    let requester = caller.requester(api, exchange.key);
    api.shared.send(
        api.shared.post.names.owner_of(session),
        OwnerLetter::Request { session, requester, request }.into(),
    );
}

/// What comes next from an owner.
pub(crate) async fn one_answer(exchange: &mut Exchange) -> Answer<ExchangeReply> {
    let answer = tokio::time::timeout(PATIENCE, exchange.next()).await.ok().flatten();
    answer.ok_or_else(|| {
        let detail =
            "no answer came in time; it may have happened or not: send the same again with the same ids";
        Refusal::new(ErrorCode::LogUnavailable, detail).retry_after(1_000).into()
    })
}
