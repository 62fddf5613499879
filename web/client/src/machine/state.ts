/**
 * All that the machine remembers, and the small steps that every part of it takes. The parts are modules of functions
 * over this state: `requests`, `connect`, `joins`, `commands`, `outbox`, `timeouts`, `receive`, `transmit`.
 *
 * A time that never comes is `Infinity`.
 */
import type { Item } from "../item.js";
import { ClientError, type Ended, type GaveUp, hasEnded } from "../outcome.js";
import type { SystemMessage } from "../protocol.js";
import { writeObject } from "../event.js";
import { digits16 } from "../random.js";
import type { Pending, Take } from "./commands.js";
import type { Following } from "./follow.js";
import { type Entry, giveUp, refuse } from "./outbox.js";
import type { Answered, ConnectionEvent, Host, Stats, Usage } from "./outputs.js";
import { Participation } from "./participation.js";
import type { Replays } from "./replays.js";
import type { Now, Settings } from "./settings.js";

/** What the server has said before it closes. */
export interface Farewell {
  code: number | null;
  detail: string;
  /** Whether and when to come back; empty if it did not say. */
  reconnect: string;
  after: number;
}

/** One connection, from the moment that there is a socket. */
export interface Connection {
  /** When the server's first message came; `null` before. */
  liveSince: number | null;
  lastReceived: number;
  /** The server's clock at its last message, ms since 1970; 0 if it did not say. */
  serverTime: number;
  /** Silence after which it counts as dead. */
  silence: number;
  nextHeartbeat: number;
  isHeartbeatDue: boolean;
  /** Number and time of the heartbeat that was sent last, if it was not answered. */
  heartbeat: { number: number; at: number } | null;
  maxPayload: number;
  farewell: Farewell;
}

/** Where the client stands towards the server. */
export type Phase = "idle" | "waiting" | "fetchingToken" | "connecting" | "open" | "ended";

/** One client's state. */
export class State {
  readonly settings: Settings;
  readonly host: Host;
  /** 16 random digits in front of the ids that this machine makes. */
  readonly run: string;
  lastNumber = 0;
  phase: Phase = "idle";
  /** When the phase is over, or has taken too long. */
  phaseEnd = Infinity;
  /** The attempt that is waited for begins with a new token. */
  needsToken = false;
  connection: Connection | null = null;
  /** Attempts in a row without any progress. */
  attempt = 0;
  hasConnected = false;
  token: string | null;
  /** The token comes from the provider and no connection was made with it so far. */
  isTokenFresh = false;
  refreshAt = Infinity;
  readonly participations = new Map<string, Participation>();
  /** There are replays from the first one on. */
  replays: Replays | null = null;
  readonly usage: Usage = { messages: 0, bytes: 0 };
  /**
   * Events of which one may be what the server cannot read, or what the connection breaks at. While there are any, each message goes
   * in a frame of its own, and an event only when nothing else waits for its answer.
   */
  readonly suspects = new Set<Entry>();
  /** Commands that wait for their replies, by number. */
  readonly pending = new Map<number, Pending>();
  /** Those of them that are to be sent. */
  unsent = new Set<number>();
  /** Sessions to be joined on this connection. */
  readonly joins = new Set<Participation>();
  /** Sessions with events to send. */
  readonly ready = new Set<Participation>();
  /** What the driver is to do and the user to be told, in order. */
  readonly outputs: (() => void)[] = [];
  wakeAt = Infinity;
  ended: Ended | null = null;
  latency: number | null = null;
  readonly stats: Stats = {
    attempts: 0, reconnects: 0, published: 0, sent: 0, retried: 0, frames: 0, acked: 0, duplicates: 0, refused: 0, unknown: 0, heldBack: 0,
    commands: 0, delivered: 0, repeats: 0, late: 0, unexpected: 0, deferred: 0, violations: 0,
  };

  constructor(settings: Settings, host: Host) {
    this.settings = settings;
    this.host = host;
    this.token = settings.token;
    this.run = digits16(settings.random);
  }

  get isConnected(): boolean {
    return this.connection?.liveSince != null;
  }

  /** The session's state, begun if there is none. Throws `ended`. */
  participation(session: string): Participation {
    this.checkOpen();
    let found = this.participations.get(session);
    if (!found) this.participations.set(session, (found = new Participation(session)));
    return found;
  }

  checkOpen(): void {
    if (this.ended) throw hasEnded(this.ended);
  }

  /** A session has one follow and one replay at a time. */
  refuseSecondReader(): never {
    throw new ClientError("alreadyFollowing", "this client follows or replays the session already");
  }

  /** `timeout` is to be called at the earliest of these, or before. */
  wakeBy(...times: number[]): void {
    this.wakeAt = Math.min(this.wakeAt, ...times);
  }

  tell(event: ConnectionEvent): void {
    this.outputs.push(() => this.host.tell(event));
  }

  give(follow: Following, item: Item): void {
    this.outputs.push(() => follow.reader.push(item));
  }

  /**
   * Lists a command for sending, and gives its number; `take` gets the answer, or why there is none. One that `isPassing` ends with
   * the connection, without a word. Throws `ended`. What a user did not write is not checked: a server's own texts go back to it.
   */
  sendCommand(now: Now, data: object, take: Take, isPassing = false): number {
    this.checkOpen();
    const deadline = isPassing ? Infinity : now.at + this.settings.commandTimeout;
    const number = (this.lastNumber += 1);
    this.pending.set(number, { data: isPassing ? JSON.stringify(data) : writeObject(data), deadline, take, isPassing, holdUntil: Infinity, sends: 0, refusals: 0, lastRefusal: null });
    this.unsent.add(number);
    this.wakeBy(deadline);
    return number;
  }

  /** Says to the server, if there is a connection, what needs no answer. */
  mention(now: Now, data: object): void {
    if (this.isConnected) this.sendCommand(now, data, () => undefined, true);
  }

  answer(answered: Answered, answer: SystemMessage | ClientError): void {
    this.outputs.push(() => answered(answer));
  }

  /** An id that no other message has: `mark` tells events (`-`), commands (`c`) and heartbeats (`h`) apart. */
  newId(mark: "-" | "c" | "h"): string {
    this.lastNumber += 1;
    return `${this.run}${mark}${this.lastNumber}`;
  }

  /** The number in an id of this machine with this mark; `NaN` if it is none. */
  numberIn(mark: "c" | "h", id: unknown): number {
    const [, number] = String(id).split(this.run + mark);
    return Number(number);
  }

  /** Whatever has changed about a session: lists it for its join or for sending, where that is due. */
  attend(found: Participation): void {
    if (!this.isConnected) return;
    if (found.needsJoin()) this.joins.add(found);
    else if (found.canPublish(this.settings.inFlight)) this.ready.add(found);
  }

  /** Nothing is to be done in a session any more. */
  forget(found: Participation): void {
    this.participations.delete(found.session);
    this.joins.delete(found);
    this.ready.delete(found);
  }

  /** Gives a session up: its events (as refused, if the error is a refusal), and tells all who wait for it or follow it. */
  forsake(found: Participation, error: ClientError, why: GaveUp = { kind: "left" }): void {
    const { refusal } = error;
    this.forget(found);
    while (found.entries.length > 0) {
      if (refusal) refuse(this, found, 0, refusal, "refusedAgain");
      else giveUp(this, found, 0, why);
    }
    for (const { answered } of found.waiters) this.answer(answered, error);
    this.outputs.push(() => found.follow?.reader.end(error));
  }
}
