/** What time brings: attempts, heartbeats, silence, deadlines, the ends of waits. */
import { ClientError, refused } from "../outcome.js";
import { earlier } from "./commands.js";
import { begin, lost, token, TOO_SLOW } from "./connect.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { Connection, State } from "./state.js";

/** Does what is due. A call too many does no harm. */
export function timeout(state: State, now: Now): void {
  if (state.wakeAt === null || state.wakeAt > now.at) return;
  state.wakeAt = null;
  linkTimeout(state, now);
  if (state.ended) return;
  for (const found of [...state.sessions.values()]) sessionTimeout(state, now, found);
  for (const { purpose, lastRefusal } of state.commands.takeExpired(now.at)) {
    state.failPurpose(purpose, lastRefusal ? refused(lastRefusal) : timedOut(state));
  }
  state.wakeBy(state.commands.release(now.at));
}

function timedOut(state: State): ClientError {
  const { commandTimeout } = state.settings;
  return new ClientError("timedOut", `no reply within ${commandTimeout} ms; whether it was carried out is unknown`);
}

function linkTimeout(state: State, now: Now): void {
  const { link } = state;
  if (link.is === "open") return connectionTimeout(state, now, link);
  if (link.is === "idle" || link.is === "ended") return;
  if (link.deadline > now.at) state.wakeBy(link.deadline);
  else if (link.is === "waiting") begin(state, now, link.fetchToken);
  else if (link.is === "connecting") lost(state, now, TOO_SLOW);
  else token(state, now, { error: "the token provider took too long" });
}

function connectionTimeout(state: State, now: Now, connection: Connection): void {
  if (connection.liveSince === null) {
    if (connection.deadline <= now.at) return lost(state, now, TOO_SLOW);
    state.wakeBy(connection.deadline);
  }
  if (connection.silence !== null) {
    const deadAt = connection.lastReceived + connection.silence;
    if (deadAt <= now.at) return lost(state, now, { detail: "nothing was heard from the server for too long" });
    state.wakeBy(deadAt);
  }
  const { heartbeatInterval } = state.settings;
  if (connection.nextHeartbeat !== null && heartbeatInterval !== null) {
    if (connection.nextHeartbeat <= now.at) {
      connection.isHeartbeatDue = true;
      connection.nextHeartbeat = now.at + heartbeatInterval;
    }
    state.wakeBy(connection.nextHeartbeat);
  }
  if (state.refreshAt !== null && state.refreshAt <= now.at) {
    state.refreshAt = null;
    state.actions.push({ type: "fetchToken" });
  }
  state.wakeBy(state.refreshAt);
}

function sessionTimeout(state: State, now: Now, found: Participation): void {
  const { outbox } = found;
  for (let left = outbox.popExpired(now.at); left; left = outbox.popExpired(now.at)) state.settle(left);
  state.releaseUnacked(found);
  let next = outbox.nextDeadline();
  if (outbox.holdUntil !== null && outbox.holdUntil <= now.at) outbox.holdUntil = null;
  next = earlier(next, outbox.holdUntil);
  if (found.join.is === "held") {
    if (found.join.until <= now.at) found.join = { is: "no" };
    else next = earlier(next, found.join.until);
  }
  const late = found.waiters.filter((waiter) => waiter.deadline <= now.at);
  found.waiters = found.waiters.filter((waiter) => waiter.deadline > now.at);
  for (const waiter of found.waiters) next = earlier(next, waiter.deadline);
  for (const waiter of late) state.fail(waiter.key, timedOut(state));
  state.wakeBy(next);
  state.attend(found.session);
}
