/** What the server's refusals change: commands, joins and events that are tried again, or are not. */
import { type ClientError, refused } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import { RENEW_AGAIN, progress, renewAt } from "./connect.js";
import { type Incoming, amount, readError, text } from "./inbound.js";
import { delay, type Now } from "./settings.js";
import type { State } from "./state.js";

/** An `error` message has arrived. */
export function takeError(state: State, now: Now, message: Incoming): void {
  const refusal = readError(message.data);
  if (!refusal) return;
  progress(state);
  const id = text(refusal.originalMessageId);
  if (id === null) return state.tell({ type: "serverError", refusal });
  if (state.numberIn("h", id) !== null) return;
  const number = state.numberIn("c", id);
  if (number === null) eventRefused(state, now, message.sessionId, id, refusal);
  else commandRefused(state, now, number, refusal);
}

function commandRefused(state: State, now: Now, number: number, refusal: ErrorData): void {
  const pending = state.commands.get(number);
  if (!pending) return state.replays?.refused(number, refusal);
  const { purpose } = pending;
  if (refusal.retryable && purpose.for !== "join" && purpose.for !== "nobody") {
    pending.holdUntil = retryAt(state, now, pending.refusals, refusal);
    pending.refusals += 1;
    pending.lastRefusal = refusal;
    return;
  }
  state.commands.take(number);
  if (purpose.for === "join") {
    const found = state.sessions.get(purpose.session);
    // Otherwise the session was left meanwhile, and perhaps joined anew.
    if (found?.join.is !== "asked" || found.join.number !== number) return;
    const until = refusal.retryable ? retryAt(state, now, found.joinRefusals, refusal) : null;
    joinFailed(state, purpose.session, refused(refusal), until);
  } else if (purpose.for === "refresh" && purpose.key === null) {
    renewAt(state, now.at + RENEW_AGAIN);
  } else {
    state.failPurpose(purpose, refused(refusal));
  }
}

/** When to try again after so many refusals before, and not before the time that the server asks for. */
function retryAt(state: State, now: Now, before: number, refusal: ErrorData): number {
  const { backoff, random } = state.settings;
  const at = now.at + (amount(refusal.retryAfterMs) ?? 0) + delay(backoff, before, random());
  state.wakeBy(at);
  return at;
}

/** A join was refused: asked for again at `retry`, or for good. */
export function joinFailed(state: State, session: string, error: ClientError, retry: number | null): void {
  const found = state.sessions.get(session);
  if (!found) return;
  if (retry !== null) {
    found.join = { is: "held", until: retry };
    found.joinRefusals += 1;
    return;
  }
  state.forsake(session, error);
}

function eventRefused(state: State, now: Now, named: string | null, id: string, refusal: ErrorData): void {
  const sessions = named !== null && state.sessions.has(named) ? [named] : [...state.sessions.keys()];
  for (const session of sessions) {
    if (eventRefusedIn(state, now, session, id, refusal)) return;
  }
  // Its ack was not wanted, or it was given up.
  state.stats.refused += 1;
}

/** Tells whether the session has the event. */
function eventRefusedIn(state: State, now: Now, session: string, id: string, refusal: ErrorData): boolean {
  const found = state.sessions.get(session);
  const result = found?.outbox.refused(id, refusal, state.settings.publishRetries);
  if (!found || result === undefined) return false;
  if (typeof result === "object") {
    if (!result) return true;
    state.settle(result);
    state.releaseUnacked(found);
    state.attend(session);
  } else {
    state.stats.heldBack += 1;
    found.outbox.holdUntil = retryAt(state, now, result, refusal);
    // The server has lost us there: joined again, we may go on.
    if (refusal.code === "not_a_participant" && found.join.is === "done") {
      found.join = { is: "no" };
      state.attend(session);
    }
  }
  return true;
}
