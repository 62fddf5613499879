/** Both ends in one thread: a machine and a server, two queues of frames that can be delayed and cut, one clock. */
import { expect } from "vitest";
import { type Frame, jsonCodec } from "../../src/codec.js";
import { makeEvent, type PublishOptions } from "../../src/event.js";
import type { Item } from "../../src/item.js";
import type { StartAt } from "../../src/machine/follow.js";
import { type Action, Machine } from "../../src/machine/machine.js";
import type { ConnectionEvent } from "../../src/machine/outputs.js";
import type { Now, Settings } from "../../src/machine/settings.js";
import type { ClientError, Outcome, Stored } from "../../src/outcome.js";
import type { SystemMessage } from "../../src/protocol.js";
import { seeded } from "./seeded.js";
import { Server } from "./server.js";

export { seeded };

export function settings(change: Partial<Settings> = {}): Settings {
  return {
    codec: jsonCodec, token: "t0", hasTokenProvider: false, connectTimeout: 10_000, commandTimeout: 30_000, ackTimeout: null,
    publishRetries: null, outboxMessages: 10_000, outboxBytes: 64 * 1024 * 1024, outboxPolicy: "wait", inFlight: 1024,
    backoff: { base: 100, max: 2000, attempts: null }, heartbeatInterval: 15_000, silenceTimeout: null,
    isFencedElsewhere: false, random: seeded(7), ...change,
  };
}

type Reply = SystemMessage | ClientError;

export class Pair {
  readonly machine: Machine;
  readonly server = new Server();
  readonly outcomes = new Map<number, Outcome[]>();
  readonly replies = new Map<number, Reply[]>();
  readonly given = new Map<number, Item[]>();
  readonly ended = new Map<number, ClientError>();
  readonly events: ConnectionEvent[] = [];
  at = 0;
  isOpen = false;
  /** Whether there is a server to be reached. */
  isReachable = true;
  /** Answers the attempt to connect with this status. */
  http: [status: number, retryAfter: number | null] | null = null;
  /** What the token provider gives. */
  tokens: string[] = [];
  private up: Frame[] = [];
  private down: unknown[] = [];
  private lastKey = 0;

  constructor(change: Partial<Settings> = {}) {
    const all = settings(change);
    this.server.codec = all.codec;
    this.machine = new Machine(all);
    this.machine.start(this.now());
  }

  /** One that is connected. */
  static plain(change: Partial<Settings> = {}): Pair {
    const pair = new Pair(change);
    pair.settle();
    return pair;
  }

  now(): Now {
    return { at: this.at, unix: this.at };
  }

  /** What a driver does between its waits. */
  pump(): void {
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (let frame = this.machine.transmit(this.now()); frame !== null; frame = this.machine.transmit(this.now())) {
        isBusy = true;
        if (this.isOpen) this.up.push(frame);
      }
      this.listen();
      const action = this.machine.pollAction();
      if (action) {
        isBusy = true;
        this.act(action);
      }
    }
  }

  private act(action: Action): void {
    const now = this.now();
    if (action.type === "connect") this.connect(action.token);
    else if (action.type === "fetchToken") {
      const token = this.tokens.shift();
      this.machine.token(now, token === undefined ? { error: "no more" } : { token });
    } else {
      // A close goes the way of all frames before it.
      for (const frame of this.up.splice(0)) this.server.received(frame);
      if (this.isOpen) this.server.seen.push(`close ${action.code}`);
      this.cutWires();
    }
  }

  private connect(token: string | null): void {
    const now = this.now();
    if (!this.isReachable) return this.machine.unreachable(now, "refused");
    if (this.http) return this.machine.refused(now, ...this.http, "not now");
    this.cutWires();
    this.isOpen = true;
    this.server.accept(token);
    this.machine.opened(now, this.server.codec.subprotocol);
  }

  private cutWires(): void {
    this.isOpen = false;
    this.up = [];
    this.down = [];
    this.server.cut();
  }

  private listen(): void {
    const push = <T>(map: Map<number, T[]>, key: number, value: T): unknown => map.get(key)?.push(value) ?? map.set(key, [value]);
    for (let told = this.machine.pollTold(); told; told = this.machine.pollTold()) {
      if (told.type === "published") push(this.outcomes, told.ticket, told.outcome);
      else if (told.type === "reply") push<Reply>(this.replies, told.key, told.reply);
      else if (told.type === "failed") push<Reply>(this.replies, told.key, told.error);
      else if (told.type === "item") push(this.given, told.follow, told.item);
      else if (told.type === "connection") this.events.push(told.event);
      else if (told.type === "replayFinished") throw new Error("nothing is replayed here");
      else {
        expect(this.ended.has(told.follow), "a follow ends once").toBe(false);
        this.ended.set(told.follow, told.error);
      }
    }
  }

  /** Lets up to `most` frames through to the server. */
  carryUp(most = Infinity): void {
    this.pump();
    for (const frame of this.up.splice(0, most)) this.server.received(frame);
    this.down.push(...this.server.takeOutput());
  }

  /** Lets up to `most` frames through to the client, and then, if all are through, the server's close. */
  carryDown(most = Infinity): void {
    this.down.push(...this.server.takeOutput());
    for (const frame of this.down.splice(0, most)) this.machine.received(this.now(), frame);
    const closing = this.down.length === 0 && this.isOpen ? this.server.takeClosing() : null;
    if (closing) this.machine.closed(this.now(), closing.code, closing.reason);
    this.pump();
  }

  /** Cuts the connection; what was on its way is lost. */
  cut(): void {
    if (this.isOpen) {
      this.cutWires();
      this.machine.closed(this.now(), null, "cut");
    }
    this.pump();
  }

  /** Lets time pass. */
  pass(time: number): void {
    this.at += time;
    this.machine.timeout(this.now());
    this.pump();
  }

  /** Carries everything both ways, without any time passing, until nothing moves. */
  settle(): void {
    this.pump();
    for (let round = 0; round < 10_000; round += 1) {
      this.carryUp();
      this.carryDown();
      this.down.push(...this.server.takeOutput());
      if (this.up.length === 0 && this.down.length === 0) return;
    }
    throw new Error("there is no end to it");
  }

  /** Settles, letting time pass to every timeout on the way, for at most `limit`. */
  settleWithin(limit = 60_000): void {
    const end = this.at + limit;
    this.settle();
    while (!(this.machine.isIdle && this.machine.isConnected) && !this.machine.ended) {
      const next = this.machine.nextTimeout;
      if (next === null || next > end) return;
      this.pass(Math.max(next - this.at, 0));
      this.settle();
    }
  }

  private key(): number {
    this.lastKey += 1;
    return this.lastKey;
  }

  create(): string {
    const key = this.beginCreate();
    this.settleWithin();
    return this.created(key);
  }

  beginCreate(): number {
    return this.command({ command: "create_session", projectId: "p", testId: "t", agentName: "a" });
  }

  created(key: number): string {
    const reply = this.reply(key);
    if (!("type" in reply) || reply.type !== "session_created") throw new Error(`not created: ${JSON.stringify(reply)}`);
    return reply.sessionId;
  }

  /** Publishes event `e<number>`; the number is the ticket. */
  publish(session: string, number: number, options: PublishOptions = {}): void {
    const event = makeEvent({ number, fill: "x".repeat(number % 50) }, options);
    expect(this.machine.makeRoom(session, event.bytes)).toBe(true);
    this.machine.publish(this.now(), { session, id: `e${number}`, event, ticket: number });
    this.pump();
  }

  publishUnacked(session: string): void {
    this.machine.publish(this.now(), { session, id: null, event: makeEvent({}, {}), ticket: null });
    this.pump();
  }

  follow(session: string, start: StartAt): { key: number; follow: number } {
    const [key, follow] = [this.key(), this.key()];
    this.machine.follow(this.now(), key, follow, session, start);
    this.pump();
    return { key, follow };
  }

  join(session: string): number {
    const key = this.key();
    this.machine.join(this.now(), key, session);
    this.pump();
    return key;
  }

  leave(session: string): number {
    const key = this.key();
    this.machine.leave(this.now(), key, session);
    this.pump();
    return key;
  }

  command(data: { command: string } & Record<string, unknown>): number {
    const key = this.key();
    this.machine.command(this.now(), key, data);
    this.pump();
    return key;
  }

  /** The only outcome of a ticket. */
  outcome(ticket: number): Outcome {
    const all = this.outcomes.get(ticket) ?? [];
    if (all.length !== 1) throw new Error(`ticket ${ticket}: ${JSON.stringify(all)}`);
    return all[0]!;
  }

  stored(ticket: number): [seq: number, duplicate: boolean] {
    const { seq, duplicate } = this.outcome(ticket) as Stored;
    return [seq, duplicate];
  }

  /** The only answer to a command. */
  reply(key: number): Reply {
    const all = this.replies.get(key) ?? [];
    if (all.length !== 1) throw new Error(`command ${key}: ${JSON.stringify(all)}`);
    return all[0]!;
  }

  error(key: number): ClientError {
    const reply = this.reply(key);
    if (!(reply instanceof Error)) throw new Error(`no error: ${JSON.stringify(reply)}`);
    return reply;
  }

  /** Seqs of the log's entries that a follow got. */
  seqs(follow: number): number[] {
    return (this.given.get(follow) ?? []).flatMap((item) => (item.type === "event" || item.type === "lifecycle" ? [item.seq] : []));
  }

  /** Everything else that a follow was told. */
  words(follow: number): Item[] {
    return (this.given.get(follow) ?? []).filter((item) => item.type !== "event" && item.type !== "lifecycle");
  }

  kinds(): string[] {
    return this.events.map(({ type }) => type);
  }

  /** Numbers of a session's events as its log has them. */
  numbers(session: string): number[] {
    return this.server.log(session).flatMap(({ data }) => (data as { number?: number }).number ?? []);
  }
}

/** The numbers from `from` to `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(to - from + 1, 0) }, (_, index) => from + index);
}
