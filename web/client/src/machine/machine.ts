/**
 * The connection machine: everything that a client decides, without IO, clock or randomness of its own.
 *
 * It owns the outbox of every session, the commands that wait for replies, the place of every follow, the waits between
 * attempts and all deadlines. A driver owns the socket and the clock, and does what it is told:
 *
 * ```text
 *   opened, received, closed, unreachable, token ──►┌─────────┐──► pollAction   connect, disconnect, fetch a token
 *   publish, command, follow, close ───────────────►│ Machine │──► transmit     frames for the socket
 *   timeout ───────────────────────────────────────►└─────────┘──► pollTold     outcomes, replies, items
 *                                                              └─► nextTimeout  when to call timeout
 * ```
 *
 * After every input the driver asks for all outputs until there are none. All times are in ms.
 *
 * **Order.** The events of one session are sent in the order in which they were published, on every connection anew from
 * the first one that is not acked, and only after the join on that connection was answered. A refusal that is worth a
 * retry stops the session: when its wait is over, that event and all behind it are sent again.
 */
import type { Frame } from "../codec.js";
import type { Event } from "../event.js";
import { ClientError, type Ended } from "../outcome.js";
import type { Purpose } from "./commands.js";
import { begin, CLOSE_NORMAL, closed, end, lost, opened, refresh, token } from "./connect.js";
import { Following, type StartAt } from "./follow.js";
import type { Action, Stats, Told, Usage } from "./outputs.js";
import type { Now, Settings } from "./settings.js";
import { received } from "./receive.js";
import { State } from "./state.js";
import { timeout } from "./timeouts.js";
import { transmit } from "./transmit.js";

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

/** One client. */
export class Machine {
  /** @internal */
  readonly state: State;

  constructor(settings: Settings) {
    this.state = new State(settings);
  }

  /** Begins with the first attempt to connect. */
  start(now: Now): void {
    if (this.state.link.is === "idle") begin(this.state, now, false);
  }

  /** There is a socket that speaks `protocol`. */
  opened(now: Now, protocol: string): void {
    opened(this.state, now, protocol);
  }

  /** The socket has ended: with the code of a close frame, or `null` without one. Or the attempt has failed. */
  closed(now: Now, code: number | null, reason: string): void {
    closed(this.state, now, code, reason);
  }

  /** The server answered the attempt with another HTTP status than 101. `retryAfter` in ms. */
  refused(now: Now, status: number, retryAfter: number | null, body: string): void {
    if (this.state.link.is === "connecting") lost(this.state, now, { how: "http", status, retryAfter, body });
  }

  /** There is no socket to be had. */
  unreachable(now: Now, detail: string): void {
    if (this.state.link.is === "connecting") lost(this.state, now, { how: "unreachable", detail });
  }

  /** A frame has arrived. */
  received(now: Now, frame: unknown): void {
    received(this.state, now, frame);
  }

  /** The server has been heard in a way that is no message: a ping. */
  heard(now: Now): void {
    if (this.state.connection) this.state.connection.lastReceived = now.at;
  }

  /** The provider's answer. */
  token(now: Now, answer: { token: string } | { error: string }): void {
    token(this.state, now, answer);
  }

  /** Does what is due. To be called at `nextTimeout`; a call too many does no harm. */
  timeout(now: Now): void {
    timeout(this.state, now);
  }

  /** What the driver has to do next. */
  pollAction(): Action | undefined {
    return this.state.actions.shift();
  }

  /** What the user has to be told next. */
  pollTold(): Told | undefined {
    return this.state.told.shift();
  }

  /** The next frame for the open connection, if there is one. What it gave must be sent, in order. */
  transmit(now: Now): Frame | null {
    return transmit(this.state, now);
  }

  /** When `timeout` has to be called, at the latest. */
  get nextTimeout(): number | null {
    return this.state.wakeAt;
  }

  /** Why the client has ended, if it has. */
  get ended(): Ended | null {
    return this.state.ended;
  }

  /** Whether a connection is ready for use. */
  get isConnected(): boolean {
    return this.state.isConnected;
  }

  /** Round trip of the last heartbeat, ms. */
  get latency(): number | null {
    return this.state.latency;
  }

  /** Counters. */
  get stats(): Stats {
    return { ...this.state.stats };
  }

  /** How full the outbox is. */
  get usage(): Usage {
    return { ...this.state.usage };
  }

  /** Whether nothing is left to be sent or answered. */
  get isIdle(): boolean {
    return this.state.usage.messages === 0 && this.state.commands.size === 0;
  }

  /** An id that no other event has. */
  newEventId(): string {
    return this.state.newId("-");
  }

  /**
   * Makes room for an event with `bytes` of data, beside what is promised to others already, as the policy says. `false`:
   * there is none.
   */
  makeRoom(session: string, bytes: number, promised: Usage = { messages: 0, bytes: 0 }): boolean {
    const state = this.state;
    while (!this.#hasRoom(bytes, promised)) {
      if (state.settings.outboxPolicy !== "dropOldestUnsent") return false;
      const left = state.sessions.get(session)?.outbox.dropOldestUnsent();
      if (!left) return false;
      state.settle(left);
    }
    return true;
  }

  #hasRoom(more: number, promised: Usage): boolean {
    const { usage, settings } = this.state;
    const messages = usage.messages + promised.messages;
    // One that is too large goes alone.
    if (messages === 0) return true;
    return messages < settings.outboxMessages && usage.bytes + promised.bytes + more <= settings.outboxBytes;
  }

  /**
   * Takes an event into the outbox; room was made before. With a ticket, an ack is wanted, and what becomes of the event
   * is told. The session is joined as a publisher if it is not. Gives the event's id; throws `ended`.
   */
  publish(now: Now, { session, id, event, ticket, recoveredFrom }: Publish): string {
    const state = this.state;
    state.checkOpen();
    const name = id ?? this.newEventId();
    const { ackTimeout } = state.settings;
    const deadline = ackTimeout === null ? null : now.at + ackTimeout;
    const isRecovered = recoveredFrom !== undefined;
    state.usage.messages += 1;
    state.usage.bytes += event.bytes;
    state.stats.published += 1;
    const found = state.participation(session);
    found.publisher = true;
    found.outbox.push({
      id: name, event, timestamp: recoveredFrom ?? now.unix, deadline, ticket,
      sends: isRecovered ? 1 : 0, inDoubt: isRecovered, refused: 0, lastRefusal: null,
    });
    state.wakeBy(deadline);
    state.attend(session);
    return name;
  }

  /** Sends a command; its reply is told under `key`. Throws `ended`. */
  command(now: Now, key: number, data: { command: string } & Record<string, unknown>): void {
    if (data.command === "refresh_token" && typeof data.token === "string") return refresh(this.state, now, key, data.token);
    const purpose: Purpose = data.command === "create_session" ? { for: "create", key } : { for: "user", key };
    this.state.sendCommand(now, purpose, data);
  }

  /** Joins a session as a publisher, for as long as the client lives; the join is told under `key`. Throws `ended`. */
  join(now: Now, key: number, session: string): void {
    this.state.checkOpen();
    const found = this.state.participation(session);
    found.publisher = true;
    // A join that was answered before answers this one too, but its reply is gone: ask again.
    if (found.join.is === "done") found.join = { is: "no" };
    this.#waitForJoin(now, key, session, null);
  }

  /** Follows a session; the join is told under `key`, the items under `follow`. Throws `ended`, `alreadyFollowing`. */
  follow(now: Now, key: number, follow: number, session: string, start: StartAt): void {
    this.state.checkOpen();
    const found = this.state.participation(session);
    if (found.follow) throw new ClientError("alreadyFollowing", "this client follows the session already");
    found.follow = new Following(follow, start);
    this.#waitForJoin(now, key, session, follow);
  }

  #waitForJoin(now: Now, key: number, session: string, follow: number | null): void {
    const deadline = now.at + this.state.settings.commandTimeout;
    this.state.participation(session).waiters.push({ key, deadline, follow });
    this.state.wakeBy(deadline);
    this.state.attend(session);
  }

  /**
   * A follow's reader has more than enough (`true`), or room again (`false`). Meanwhile the server sends it nothing; it
   * goes on from its place afterwards. This is how memory stays bounded where a socket cannot be left unread.
   */
  setPaused(session: string, follow: number, isPaused: boolean): void {
    const found = this.state.sessions.get(session);
    if (found?.follow?.key !== follow || found.follow.isPaused === isPaused) return;
    if (isPaused) found.follow.pause();
    else found.follow.unpause();
    this.state.attend(session);
  }

  /** Ends a follow. Nothing is told of it any more. */
  unfollow(now: Now, session: string, follow: number): void {
    const state = this.state;
    const found = state.sessions.get(session);
    if (found?.follow?.key !== follow) return;
    found.follow = null;
    found.waiters = found.waiters.filter((waiter) => waiter.follow !== follow);
    if (found.isWanted()) return state.attend(session);
    const wasJoined = found.join.is === "asked" || found.join.is === "done";
    state.sessions.delete(session);
    if (wasJoined && state.isConnected) state.sendCommand(now, { for: "nobody" }, { command: "leave_session", sessionId: session });
  }

  /**
   * Leaves a session: what waits to be published there is given up, its follow ends. The reply is told under `key`.
   * Throws `ended`.
   */
  leave(now: Now, key: number, session: string): void {
    const state = this.state;
    state.checkOpen();
    const found = state.sessions.get(session);
    if (found) {
      state.sessions.delete(session);
      for (const left of found.outbox.giveUpAll({ kind: "left" })) state.settle(left);
      state.dissolve(found, new ClientError("invalid", "the session was left"));
    }
    this.command(now, key, { command: "leave_session", sessionId: session });
  }

  /** Ends the client. What is outstanding is given up. */
  close(why: Ended = { kind: "closed" }): void {
    if (this.state.ended) return;
    this.state.actions.push({ type: "disconnect", code: CLOSE_NORMAL });
    end(this.state, why);
  }
}
