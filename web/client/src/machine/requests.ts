/** What the driver and the user ask of the machine: functions over its state, in place of methods, so that only what is used is loaded. */
import type { Event } from "../event.js";
import { ClientError, type Ended } from "../outcome.js";
import { begin, CLOSE_NORMAL, end, lost, refresh } from "./connect.js";
import { Following, type StartAt } from "./follow.js";
import type { Usage } from "./outputs.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** An event on its way into the outbox. */
export interface Publish {
  /** Its session. */
  session: string;
  /** Its id; made if it is `null`. */
  id: string | null;
  /** Its content. */
  event: Event;
  /** Comes back with its outcome; `null` if no ack is wanted. */
  ticket: number | null;
  /** It comes from an earlier life of the client, which may have sent it then: when it was published, ms since 1970. */
  recoveredFrom?: number;
}

/** Begins with the first attempt to connect. */
export function start(state: State, now: Now): void {
  if (state.link.is === "idle") begin(state, now, false);
}

/** There is no socket to be had. */
export function unreachable(state: State, now: Now, detail: string): void {
  if (state.link.is === "connecting") lost(state, now, { detail });
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
    const left = settings.outboxPolicy === "dropOldestUnsent" && state.sessions.get(session)?.outbox.dropOldestUnsent();
    if (!left) return false;
    state.settle(left);
  }
}

/**
 * Takes an event into the outbox; room was made before. With a ticket, an ack is wanted, and what becomes of the event
 * is told. The session is joined as a publisher if it is not. Gives the event's id; throws `ended`.
 */
export function publish(state: State, now: Now, { session, id, event, ticket, recoveredFrom }: Publish): string {
  const found = state.participation(session);
  const name = id ?? state.newId("-");
  const { ackTimeout } = state.settings;
  const deadline = ackTimeout === null ? null : now.at + ackTimeout;
  const inDoubt = recoveredFrom !== undefined;
  state.usage.messages += 1;
  state.usage.bytes += event.bytes;
  state.stats.published += 1;
  found.publisher = true;
  found.outbox.push({ id: name, event, timestamp: recoveredFrom ?? now.unix, deadline, ticket, sends: inDoubt ? 1 : 0, inDoubt, refused: 0, lastRefusal: null });
  state.wakeBy(deadline);
  state.attend(session);
  return name;
}

/** Sends a command; its reply is told under `key`. Throws `ended`. */
export function command(state: State, now: Now, key: number, data: { command: string } & Record<string, unknown>): void {
  if (data.command === "refresh_token" && typeof data.token === "string") refresh(state, now, key, data.token);
  else state.sendCommand(now, { for: data.command === "create_session" ? "create" : "user", key }, data);
}

/** Joins a session as a publisher, for as long as the client lives; the join is told under `key`. Throws `ended`. */
export function join(state: State, now: Now, key: number, session: string): void {
  const found = state.participation(session);
  found.publisher = true;
  // A join that was answered before answers this one too, but its reply is gone: ask again.
  if (found.join.is === "done") found.join = { is: "no" };
  waitForJoin(state, now, key, session, null);
}

/** Follows a session; the join is told under `key`, the items under `own`. Throws `ended`, `alreadyFollowing`. */
export function follow(state: State, now: Now, key: number, own: number, session: string, from: StartAt): void {
  const found = state.participation(session);
  if (found.follow) throw new ClientError("alreadyFollowing", "this client follows the session already");
  found.follow = new Following(own, from);
  waitForJoin(state, now, key, session, own);
}

function waitForJoin(state: State, now: Now, key: number, session: string, own: number | null): void {
  const deadline = now.at + state.settings.commandTimeout;
  state.participation(session).waiters.push({ key, deadline, follow: own });
  state.wakeBy(deadline);
  state.attend(session);
}

/**
 * A follow's reader has more than enough (`true`), or room again (`false`). Meanwhile the server sends it nothing; it
 * goes on from its place afterwards. This is how memory stays bounded where a socket cannot be left unread.
 */
export function setPaused(state: State, _now: Now, session: string, own: number, isPaused: boolean): void {
  const found = state.sessions.get(session)?.follow;
  if (found?.key !== own || found.isPaused === isPaused) return;
  found.pause(isPaused);
  state.attend(session);
}

/** Ends a follow. Nothing is told of it any more. */
export function unfollow(state: State, now: Now, session: string, own: number): void {
  const found = state.sessions.get(session);
  if (found?.follow?.key !== own) return;
  found.follow = null;
  found.waiters = found.waiters.filter((waiter) => waiter.follow !== own);
  if (found.isWanted()) return state.attend(session);
  const wasJoined = found.join.is === "asked" || found.join.is === "done";
  state.sessions.delete(session);
  if (wasJoined && state.isConnected) state.sendCommand(now, { for: "nobody" }, { command: "leave_session", sessionId: session });
}

/**
 * Leaves a session: what waits to be published there is given up, its follow ends. The reply is told under `key`.
 * Throws `ended`.
 */
export function leave(state: State, now: Now, key: number, session: string): void {
  state.checkOpen();
  state.forsake(session, new ClientError("invalid", "the session was left"));
  command(state, now, key, { command: "leave_session", sessionId: session });
}

/** Ends the client. What is outstanding is given up. */
export function close(state: State, _now: Now, why: Ended): void {
  if (state.ended) return;
  state.actions.push({ type: "disconnect", code: CLOSE_NORMAL });
  end(state, why);
}
