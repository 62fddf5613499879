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
 * After every input the driver asks for all outputs until there are none. All times are in ms. This is the machine as other drivers
 * and tests see it, with numbers for who asked; the SDK's own driver uses the state and its functions, which call back.
 *
 * **Order.** The events of one session are sent in the order in which they were published, on every connection anew from
 * the first one that is not acked, and only after the join on that connection was answered. A refusal that is worth a
 * retry stops the session: when its wait is over, that event and all behind it are sent again.
 */
import type { Frame } from "../codec.js";
import type { Event } from "../event.js";
import type { Item } from "../item.js";
import { ClientError, type Ended, type Outcome } from "../outcome.js";
import type { SystemMessage } from "../protocol.js";
import { begin, close, closed, opened, token, turnedAway } from "./connect.js";
import type { StartAt } from "./follow.js";
import type { Answered, ConnectionEvent, Reader, Stats, Usage } from "./outputs.js";
import { received } from "./receive.js";
import * as requests from "./requests.js";
import { replaysOf } from "./replays.js";
import type { Now, Settings } from "./settings.js";
import { State } from "./state.js";
import { timeout } from "./timeouts.js";
import { transmit } from "./transmit.js";

/** What the driver is to do. */
export type Action =
  /** Connect with this token; answer with `opened`, `refused`, `closed` or `unreachable`. */
  | { type: "connect"; token: string | null }
  /** Close the socket with this code, or give up the attempt to connect. No answer. */
  | { type: "disconnect"; code: number }
  /** Ask the token provider; answer with `token`. */
  | { type: "fetchToken" };

/** What the user is to be told. */
export type Told =
  /** What became of a publish with an ack. */
  | { type: "published"; ticket: number; outcome: Outcome }
  /** The reply to a command, a join or a follow. */
  | { type: "reply"; key: number; reply: SystemMessage }
  /** A command, a join or a follow was not carried out, or nobody knows. */
  | { type: "failed"; key: number; error: ClientError }
  /** The next item of a follow. */
  | { type: "item"; follow: number; item: Item }
  /** A follow is over. */
  | { type: "followEnded"; follow: number; error: ClientError }
  /** A replay has come to its end. */
  | { type: "replayFinished"; replay: number }
  /** Something about the connection. */
  | { type: "connection"; event: ConnectionEvent };

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

/** For what is the same at any time. */
const UNTIMED: Now = { at: 0, unix: 0 };

/** One client. */
export class Machine {
  /** @internal */
  readonly state: State;
  readonly #actions: Action[] = [];
  readonly #told: Told[] = [];
  readonly #readers = new Map<number, Reader>();

  constructor(settings: Settings) {
    this.state = new State(settings, {
      connect: (token) => this.#actions.push({ type: "connect", token }),
      disconnect: (code) => this.#actions.push({ type: "disconnect", code }),
      fetchToken: () => this.#actions.push({ type: "fetchToken" }),
      tell: (event) => this.#told.push({ type: "connection", event }),
    });
  }

  #answered(key: number): Answered {
    return (answer) => this.#told.push(answer instanceof ClientError ? { type: "failed", key, error: answer } : { type: "reply", key, reply: answer });
  }

  #reader(follow: number): Reader {
    let reader = this.#readers.get(follow);
    if (reader) return reader;
    reader = {
      push: (item) => this.#told.push({ type: "item", follow, item }),
      end: (error) => this.#told.push(error ? { type: "followEnded", follow, error } : { type: "replayFinished", replay: follow }),
    };
    this.#readers.set(follow, reader);
    return reader;
  }

  #list(): void {
    for (const output of this.state.outputs.splice(0)) output();
  }

  /** Begins with the first attempt to connect. */
  start(now: Now): void {
    if (this.state.phase === "idle") begin(this.state, now, false);
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
    turnedAway(this.state, now, status, retryAfter, body);
  }

  /** There is no socket to be had. */
  unreachable(now: Now, detail: string): void {
    if (this.state.phase === "connecting") closed(this.state, now, null, detail);
  }

  /** A frame has arrived. */
  received(now: Now, frame: unknown): void {
    received(this.state, now, frame);
  }

  /** The server has been heard in a way that is no message: a ping. */
  heard(now: Now): void {
    requests.heard(this.state, now);
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
    this.#list();
    return this.#actions.shift();
  }

  /** What the user has to be told next. */
  pollTold(): Told | undefined {
    this.#list();
    return this.#told.shift();
  }

  /** The next frame for the open connection, if there is one. What it gave must be sent, in order. */
  transmit(now: Now): Frame | null {
    return transmit(this.state, now);
  }

  /** When `timeout` has to be called, at the latest. */
  get nextTimeout(): number | null {
    return this.state.wakeAt === Infinity ? null : this.state.wakeAt;
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
    return this.state.usage.messages === 0 && this.state.pending.size === 0;
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
    return requests.makeRoom(this.state, session, bytes, promised);
  }

  /**
   * Takes an event into the outbox; room was made before. With a ticket, an ack is wanted, and what becomes of the event
   * is told. The session is joined as a publisher if it is not. Gives the event's id; throws `ended`.
   */
  publish(now: Now, { session, id, event, ticket, recoveredFrom }: Publish): string {
    const name = id ?? this.newEventId();
    const settled = ticket === null ? null : (outcome: Outcome) => this.#told.push({ type: "published", ticket, outcome });
    requests.publish(this.state, now, { session, id: name, event, ticket: settled, recoveredFrom });
    return name;
  }

  /** Sends a command; its reply is told under `key`. Throws `ended`. */
  command(now: Now, key: number, data: { command: string } & Record<string, unknown>): void {
    requests.command(this.state, now, this.#answered(key), data);
  }

  /** Joins a session as a publisher, for as long as the client lives; the join is told under `key`. Throws `ended`. */
  join(now: Now, key: number, session: string): void {
    requests.join(this.state, now, this.#answered(key), session);
  }

  /** Follows a session; the join is told under `key`, the items under `follow`. Throws `ended`, `alreadyFollowing`. */
  follow(now: Now, key: number, follow: number, session: string, start: StartAt): void {
    requests.follow(this.state, now, this.#answered(key), this.#reader(follow), session, start);
  }

  /**
   * A follow's reader has more than enough (`true`), or room again (`false`). Meanwhile the server sends it nothing; it
   * goes on from its place afterwards. This is how memory stays bounded where a socket cannot be left unread.
   */
  setPaused(session: string, follow: number, isPaused: boolean): void {
    requests.setPaused(this.state, UNTIMED, session, this.#reader(follow), isPaused);
  }

  /** Replays a session from a seq on; the start is told under `key`, the items under `own`. Throws `ended`, `alreadyFollowing`. */
  replay(now: Now, key: number, own: number, session: string, speed: number, fromSeq: number): void {
    replaysOf(this.state).begin(now, this.#answered(key), this.#reader(own), session, speed, fromSeq);
  }

  /** A replay's reader has more than enough, or room again. */
  setReplayPaused(now: Now, session: string, own: number, isPaused: boolean): void {
    replaysOf(this.state).setPaused(now, session, this.#reader(own), isPaused);
  }

  /** Ends a replay, and asks the server to send no more of it. Nothing is told of it any more. */
  stopReplay(now: Now, session: string, own: number): void {
    replaysOf(this.state).stop(now, session, this.#reader(own));
  }

  /** Ends a follow. Nothing is told of it any more. */
  unfollow(now: Now, session: string, follow: number): void {
    requests.unfollow(this.state, now, session, this.#reader(follow));
  }

  /**
   * Leaves a session: what waits to be published there is given up, its follow ends. The reply is told under `key`.
   * Throws `ended`.
   */
  leave(now: Now, key: number, session: string): void {
    requests.leave(this.state, now, this.#answered(key), session);
  }

  /** Ends the client. What is outstanding is given up. */
  close(why: Ended = { kind: "closed" }): void {
    close(this.state, UNTIMED, why);
  }
}
