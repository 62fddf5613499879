/** What the driver and the user ask of the machine: functions over its state, in place of methods, so that only what is used is loaded. */
import type { Event } from "../event.js";
import { ClientError } from "../outcome.js";
import { expectExpiry } from "./connect.js";
import { Following, type StartAt } from "./follow.js";
import { giveUp } from "./outbox.js";
import type { Answered, Reader, Settled, Usage } from "./outputs.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** An event on its way into the outbox. */
export interface Publish {
  /** Its session. */
  session: string;
  /** Its id. */
  id: string;
  /** Its content. */
  event: Event;
  /** Told of its outcome; `null` if no ack is wanted. */
  ticket: Settled | null;
  /** It comes from an earlier life of the client, which may have sent it then: when it was published, ms since 1970. */
  recoveredFrom?: number | undefined;
}

/** The server has been heard in a way that is no message: a ping. */
export function heard(state: State, now: Now): void {
  if (state.connection) state.connection.lastReceived = now.at;
}

/**
 * Makes room for an event with `bytes` of data, beside what is promised to others already, as the policy says. `false`:
 * there is none.
 */
export function makeRoom(state: State, session: string, bytes: number, promised: Usage): boolean {
  const { usage, settings } = state;
  for (;;) {
    const messages = usage.messages + promised.messages;
    // One that is too large goes alone.
    if (messages === 0 || (messages < settings.outboxMessages && usage.bytes + promised.bytes + bytes <= settings.outboxBytes)) return true;
    const found = state.participations.get(session);
    if (settings.outboxPolicy !== "dropOldestUnsent" || !found) return false;
    const oldest = found.entries.findIndex(({ sends }) => sends === 0);
    if (!giveUp(state, found, oldest, { kind: "dropped" })) return false;
  }
}

/**
 * Takes an event into the outbox; room was made before. With a ticket, an ack is wanted, and what becomes of the event
 * is told. The session is joined as a publisher if it is not. Throws `ended`.
 */
export function publish(state: State, now: Now, { session, id, event, ticket, recoveredFrom }: Publish): void {
  const found = state.participation(session);
  const deadline = now.at + (state.settings.ackTimeout ?? Infinity);
  const inDoubt = recoveredFrom !== undefined;
  state.usage.messages += 1;
  state.usage.bytes += event.bytes;
  state.stats.published += 1;
  found.isPublisher = true;
  found.entries.push({ id, event, timestamp: recoveredFrom ?? now.unix, deadline, ticket, sends: Number(inDoubt), inDoubt, refused: 0, lastRefusal: null, breaks: 0 });
  state.wakeBy(deadline);
  state.attend(found);
}

/** Sends a command. Throws `ended`. */
export function command(state: State, now: Now, answered: Answered, data: { command: string } & Record<string, unknown>): void {
  state.sendCommand(now, data, (answer, at, { sends }) => {
    if (!(answer instanceof ClientError)) {
      if (answer.type === "session_created") created(state, answer.sessionId, sends);
      if (answer.type === "token_refreshed") {
        state.token = String(data.token);
        expectExpiry(state, at, answer.tokenExpiresAt);
      }
    }
    state.answer(answered, answer);
  });
}

/** The session exists, and its creator takes part in it, unless the answer is to a repeat on a later connection. */
function created(state: State, session: string, sends: number): void {
  const found = state.participation(session);
  found.isPublisher = true;
  if (sends === 1 && found.join === "no") {
    found.join = "done";
    found.joinedFor = null;
  }
  state.attend(found);
}

/** Joins a session as a publisher, for as long as the client lives. Throws `ended`. */
export function join(state: State, now: Now, answered: Answered, session: string): void {
  const found = state.participation(session);
  found.isPublisher = true;
  // A join that was answered before answers this one too, but its reply is gone: ask again.
  if (found.join === "done") found.join = "no";
  waitForJoin(state, now, answered, found, null);
}

/** Follows a session; `reader` takes the items. Throws `ended`, `alreadyFollowing`. */
export function follow(state: State, now: Now, answered: Answered, reader: Reader, session: string, from: StartAt): void {
  const found = state.participation(session);
  if (found.follow) state.refuseSecondReader();
  found.follow = new Following(reader, from);
  waitForJoin(state, now, answered, found, found.follow);
}

function waitForJoin(state: State, now: Now, answered: Answered, found: Participation, wants: Following | null): void {
  const deadline = now.at + state.settings.commandTimeout;
  found.waiters.push({ answered, deadline, wants });
  state.wakeBy(deadline);
  state.attend(found);
}

/**
 * A follow's reader has more than enough (`true`), or room again (`false`). Meanwhile the server sends it nothing; it
 * goes on from its place afterwards. This is how memory stays bounded where a socket cannot be left unread.
 */
export function setPaused(state: State, _now: Now, session: string, reader: Reader, isPaused: boolean): void {
  const found = state.participations.get(session);
  if (found?.follow?.reader !== reader || found.follow.isPaused === isPaused) return;
  found.follow.pause(isPaused);
  state.attend(found);
}

/** Ends a follow. Nothing is told of it any more. */
export function unfollow(state: State, now: Now, session: string, reader: Reader): void {
  const found = state.participations.get(session);
  const follow = found?.follow;
  if (!found || follow?.reader !== reader) return;
  found.follow = null;
  found.waiters = found.waiters.filter(({ wants }) => wants !== follow);
  if (found.isWanted()) return state.attend(found);
  state.forget(found);
  if (found.join === "asked" || found.join === "done") state.mention(now, { command: "leave_session", sessionId: session });
}

/**
 * Leaves a session: what waits to be published there is given up, its follow ends. Throws `ended`.
 */
export function leave(state: State, now: Now, answered: Answered, session: string): void {
  const found = state.participations.get(session);
  command(state, now, answered, { command: "leave_session", sessionId: session });
  if (found) state.forsake(found, new ClientError("invalid", "the session was left"));
}
