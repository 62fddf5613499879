/** What time brings: attempts, heartbeats, silence, deadlines, the ends of waits. */
import { ClientError, refused } from "../outcome.js";
import { begin, fetchToken, lost, token } from "./connect.js";
import { giveUp } from "./outbox.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** Does what is due. A call too many does no harm. */
export function timeout(state: State, now: Now): void {
  const { at } = now;
  if (state.wakeAt > at) return;
  state.wakeAt = Infinity;
  if (state.phaseEnd <= at) phaseTimeout(state, now);
  connectionTimeout(state, now);
  if (state.ended) return;
  for (const found of state.participations.values()) sessionTimeout(state, now, found);
  for (const [number, command] of state.pending) {
    const { lastRefusal, deadline } = command;
    if (deadline <= at) {
      state.pending.delete(number);
      command.take(lastRefusal ? refused(lastRefusal) : timedOut(), now, command);
    } else {
      if (command.holdUntil <= at) {
        command.holdUntil = Infinity;
        state.unsent.add(number);
      }
      state.wakeBy(command.holdUntil, deadline);
    }
  }
  state.wakeBy(state.phaseEnd, state.refreshAt);
}

function timedOut(): ClientError {
  return new ClientError("timedOut", "the server did not answer in time; whether it was carried out is unknown");
}

function phaseTimeout(state: State, now: Now): void {
  if (state.phase === "waiting") begin(state, now, state.needsToken);
  else if (state.phase === "fetchingToken") token(state, now, { error: "the token provider did not answer in time" });
  else lost(state, now, { detail: "the server did not answer in time" });
}

function connectionTimeout(state: State, now: Now): void {
  const { at } = now;
  const { connection } = state;
  if (!connection) return;
  const deadAt = connection.lastReceived + connection.silence;
  if (deadAt <= at) return lost(state, now, { detail: "the server did not answer in time" });
  if (connection.nextHeartbeat <= at) {
    connection.isHeartbeatDue = true;
    connection.nextHeartbeat = at + (state.settings.heartbeatInterval ?? Infinity);
  }
  if (state.refreshAt <= at) {
    state.refreshAt = Infinity;
    fetchToken(state);
  }
  state.wakeBy(deadAt, connection.nextHeartbeat);
}

function sessionTimeout(state: State, { at }: Now, found: Participation): void {
  const { entries, waiters } = found;
  while (entries[0] && entries[0].deadline <= at) giveUp(state, found, 0, { kind: "ackTimeout" });
  if (found.holdUntil <= at) found.holdUntil = Infinity;
  if (found.join === "held" && found.joinAgainAt <= at) found.join = "no";
  for (const { answered, deadline } of waiters) if (deadline <= at) state.answer(answered, timedOut());
  found.waiters = waiters.filter(({ deadline }) => deadline > at);
  state.wakeBy(found.holdUntil, found.join === "held" ? found.joinAgainAt : Infinity, entries[0]?.deadline ?? Infinity, ...found.waiters.map(({ deadline }) => deadline));
  state.attend(found);
}
