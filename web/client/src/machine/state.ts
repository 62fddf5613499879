/**
 * All that the machine remembers, and the small steps that every part of it takes. The parts are modules of functions
 * over this state: `requests`, `connect`, `timeouts`, `receive`, `refusals`, `transmit`.
 */
import type { Item } from "../item.js";
import { type ClientError, type Ended, type GaveUp, hasEnded } from "../outcome.js";
import type { Reconnect } from "../protocol.js";
import { digits16 } from "../random.js";
import { Commands, earlier, type Purpose } from "./commands.js";
import type { Left } from "./outbox.js";
import type { Action, ConnectionEvent, Stats, Told, Usage } from "./outputs.js";
import { Participation } from "./participation.js";
import type { Replays } from "./replays.js";
import type { Now, Settings } from "./settings.js";

/** What the server has said before it closes. */
export interface Farewell {
  code: number;
  detail: string;
  reconnect: Reconnect;
  after: number;
}

/** One connection. */
export interface Connection {
  is: "open";
  /** When the server's first message came; `null` before. */
  liveSince: number | null;
  /** For the server's first message. */
  deadline: number;
  lastReceived: number;
  /** Silence after which it counts as dead. */
  silence: number | null;
  nextHeartbeat: number | null;
  /** Number and time of the heartbeat that was sent last. */
  heartbeat: { number: number; at: number } | null;
  isHeartbeatDue: boolean;
  maxPayload: number;
  farewell: Farewell | null;
}

/** Where the client stands towards the server. */
export type Link =
  | { is: "idle" }
  | { is: "waiting"; deadline: number; fetchToken: boolean }
  | { is: "fetchingToken"; deadline: number }
  | { is: "connecting"; deadline: number }
  | Connection
  | { is: "ended" };

const COUNTERS = "attempts reconnects published sent retried frames acked duplicates refused unknown heldBack commands delivered repeats late unexpected deferred violations";

function noStats(): Stats {
  return Object.fromEntries(COUNTERS.split(" ").map((name) => [name, 0])) as unknown as Stats;
}

/** One client's state. */
export class State {
  readonly settings: Settings;
  /** 16 random digits in front of the ids that this machine makes. */
  readonly run: string;
  lastNumber = 0;
  link: Link = { is: "idle" };
  /** Attempts in a row without any progress. */
  attempt = 0;
  hasConnected = false;
  token: string | null;
  /** The token comes from the provider and no connection was made with it so far. */
  isTokenFresh = false;
  refreshAt: number | null = null;
  readonly sessions = new Map<string, Participation>();
  /** There are replays from the first one on. */
  replays: Replays | null = null;
  readonly usage: Usage = { messages: 0, bytes: 0 };
  readonly commands = new Commands();
  /** Sessions with events to send, each once. */
  ready: string[] = [];
  /** Sessions to be joined on this connection. */
  joins: string[] = [];
  readonly actions: Action[] = [];
  readonly told: Told[] = [];
  wakeAt: number | null = null;
  ended: Ended | null = null;
  latency: number | null = null;
  readonly stats = noStats();

  constructor(settings: Settings) {
    this.settings = settings;
    this.token = settings.token;
    this.run = digits16(settings.random);
  }

  /** The connection, from the moment that there is a socket. */
  get connection(): Connection | null {
    return this.link.is === "open" ? this.link : null;
  }

  get isConnected(): boolean {
    return this.connection?.liveSince != null;
  }

  /** The session's state, begun if there is none. Throws `ended`. */
  participation(session: string): Participation {
    this.checkOpen();
    let found = this.sessions.get(session);
    if (!found) this.sessions.set(session, (found = new Participation(session)));
    return found;
  }

  checkOpen(): void {
    if (this.ended) throw hasEnded(this.ended);
  }

  /** `timeout` is to be called at `at`, or before. */
  wakeBy(at: number | null): void {
    this.wakeAt = earlier(this.wakeAt, at);
  }

  tell(event: ConnectionEvent): void {
    this.told.push({ type: "connection", event });
  }

  give(follow: number, item: Item): void {
    this.told.push({ type: "item", follow, item });
  }

  fail(key: number, error: ClientError): void {
    this.told.push({ type: "failed", key, error });
  }

  /** Tells a command's sender, if somebody waits, that it failed. */
  failPurpose(purpose: Purpose, error: ClientError): void {
    if (purpose.for === "replay") this.replays?.end(purpose.session, error);
    if ("key" in purpose && purpose.key !== null) this.fail(purpose.key, error);
  }

  /** An id that no other message has: `mark` tells events (`-`), commands (`c`) and heartbeats (`h`) apart. */
  newId(mark: "-" | "c" | "h"): string {
    this.lastNumber += 1;
    return `${this.run}${mark}${this.lastNumber}`;
  }

  /** The number in an id of this machine with this mark. */
  numberIn(mark: "c" | "h", id: unknown): number | null {
    const start = this.run + mark;
    if (typeof id !== "string" || !id.startsWith(start)) return null;
    const digits = id.slice(start.length);
    return /^\d{1,15}$/.test(digits) ? Number(digits) : null;
  }

  sendCommand(now: Now, purpose: Purpose, data: Record<string, unknown>): void {
    this.checkOpen();
    const isWaitedFor = purpose.for !== "join" && purpose.for !== "nobody";
    const deadline = isWaitedFor ? now.at + this.settings.commandTimeout : null;
    this.lastNumber += 1;
    this.commands.add(this.lastNumber, purpose, JSON.stringify(data), deadline);
    this.wakeBy(deadline);
  }

  /** Whatever has changed about a session: asks for its join, or lists it for sending, where that is due. */
  attend(session: string): void {
    if (!this.isConnected) return;
    const found = this.sessions.get(session);
    if (!found) return;
    if (found.needsJoin()) {
      found.join = { is: "asked", follow: null, number: 0 };
      this.joins.push(session);
    } else if (!found.isListed && found.canPublish(this.settings.inFlight)) {
      found.isListed = true;
      this.ready.push(session);
    }
  }

  /** An event has left the outbox. */
  settle(left: Left): void {
    this.usage.messages -= 1;
    this.usage.bytes -= left.bytes;
    const { status } = left.outcome;
    if (status === "refused") this.stats.refused += 1;
    if (status === "unknown") this.stats.unknown += 1;
    if (left.ticket !== null) this.told.push({ type: "published", ticket: left.ticket, outcome: left.outcome });
  }

  /** Events without an ack that are done. */
  releaseUnacked(found: Participation): void {
    for (let bytes = found.outbox.popUnacked(); bytes !== null; bytes = found.outbox.popUnacked()) {
      this.usage.messages -= 1;
      this.usage.bytes -= bytes;
    }
  }

  /** Gives a session up: its events (as refused, if the error is a refusal), and tells all who wait for it or follow it. */
  forsake(session: string, error: ClientError, why: GaveUp = { kind: "left" }): void {
    const found = this.sessions.get(session);
    if (!found) return;
    this.sessions.delete(session);
    for (const left of found.outbox.takeAll(why, error.refusal)) this.settle(left);
    for (const waiter of found.waiters) this.fail(waiter.key, error);
    if (found.follow) this.told.push({ type: "followEnded", follow: found.follow.key, error });
  }
}
