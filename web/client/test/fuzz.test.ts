/**
 * A server whose frames are changed on their way, a user who does anything, connections that break: the machine never throws, and keeps
 * what it promises its user. Each game is made from its number; `FUZZ_GAMES` and `FUZZ_FIRST` play others.
 */
import { describe, expect, test } from "vitest";
import { type Codec, type Frame, jsonCodec } from "../src/codec.js";
import { makeEvent } from "../src/event.js";
import type { Item } from "../src/item.js";
import { Machine } from "../src/machine/machine.js";
import type { Now } from "../src/machine/settings.js";
import { ClientError } from "../src/outcome.js";
import { loadMsgpack } from "../src/msgpack.js";
import { seeded, settings } from "./support/pair.js";
import { mutated, oneOf } from "./support/mutate.js";
import { Server } from "./support/server.js";

const STEPS = 60;
/** Most turns of a driver between two waits, and most timeouts at one moment. */
const MAX_TURNS = 1_000;
const FOLLOW = 1;

/** Where a follow stands, as its user knows it. */
class Place {
  private next: number | null = null;
  private behindHole: number | null = null;
  private readonly had = new Set<number>();

  /** The join was answered. */
  begin(seq: number): void {
    this.next = seq + 1;
  }

  take(item: Item): void {
    if (item.type === "event" || item.type === "lifecycle") {
      this.reach(item.seq);
      this.next = item.seq + 1;
      this.isNew(item.seq);
    } else if (item.type === "late") this.isNew(item.seq);
    else if (item.type === "violation") {
      expect(item.got, "a hole of nothing").toBeGreaterThan(item.expected);
      if (this.next !== null) expect(item.expected, "a hole in the wrong place").toBe(this.next);
      this.behindHole = item.got;
    } else if (item.type === "gap" && item.cause !== "epoch" && item.cause !== "diverged") {
      if (this.next !== null && item.to < this.next) return;
      if (this.next === null || item.from > this.next) this.reach(item.from);
      this.behindHole = null;
      this.next = item.to + 1;
    } else if (item.type === "notRecovered") {
      this.next = item.from.seq + 1;
      this.behindHole = null;
      this.had.clear();
    } else if (item.type === "resumed") {
      if (this.next !== null) expect(item.from.seq + 1, "resumed elsewhere").toBe(this.next);
      this.next = item.from.seq + 1;
    }
  }

  private reach(seq: number): void {
    expect(Number.isInteger(seq) && seq >= 0, `${seq} is no seq`).toBe(true);
    const expected = this.behindHole ?? this.next;
    this.behindHole = null;
    if (expected !== null) expect(seq, "not the next one").toBe(expected);
  }

  private isNew(seq: number): void {
    expect(this.had.has(seq), `entry ${seq} twice`).toBe(false);
    this.had.add(seq);
  }
}

/** One game: driver, user and server of one client. */
class Game {
  private readonly random: () => number;
  private readonly server = new Server();
  private readonly machine: Machine;
  private readonly session: string;
  /** Publishes without an outcome, commands without a reply. */
  private readonly publishes = new Set<number>();
  private readonly commands = new Set<number>();
  private place: Place | null = null;
  private followKey = 0;
  private isOpen = false;
  private isReachable = true;
  private at = 0;
  private lastKey = 1;
  /** Frames of this game, whose parts go into others. */
  private readonly frames: Frame[] = [];

  constructor(number: number, codec: Codec) {
    this.random = seeded(number);
    this.server.codec = codec;
    this.session = this.server.prepare(3);
    this.machine = new Machine(settings({
      codec, random: seeded(number), hasTokenProvider: this.random() < 0.3, inFlight: oneOf(this.random, [1, 1024]),
      ackTimeout: oneOf(this.random, [null, 5_000]), publishRetries: oneOf(this.random, [null, 2]),
    }));
    this.machine.start(this.now());
    this.pump();
    this.follow();
    this.publish();
  }

  play(): void {
    for (let step = 0; step < STEPS; step += 1) this.step();
    this.machine.close();
    this.pump();
    expect(this.machine.ended, "closed").not.toBeNull();
    expect(this.machine.usage, "closed, with events").toEqual({ messages: 0, bytes: 0 });
    expect([...this.publishes], "publishes without an outcome").toEqual([]);
    expect([...this.commands], "commands without a reply").toEqual([]);
    expect(this.place, "a follow that does not end").toBeNull();
  }

  private step(): void {
    const kind = this.random();
    if (kind < 0.55) this.deliver();
    else if (kind < 0.65) this.publish();
    else if (kind < 0.72) this.pass(this.random() * 3_000);
    else if (kind < 0.82) this.pass(Math.max((this.machine.nextTimeout ?? this.at) - this.at, 0));
    else if (kind < 0.86) this.break();
    else if (kind < 0.89) this.ask((key, now) => this.machine.command(now, key, { command: "create_session", projectId: "p", testId: "t", agentName: "a" }));
    else if (kind < 0.91) this.ask((key, now) => this.machine.join(now, key, this.session));
    else if (kind < 0.93) this.leave();
    else if (kind < 0.96) this.follow();
    else {
      this.machine.setPaused(this.session, FOLLOW, this.random() < 0.5);
      this.pump();
    }
  }

  private now(): Now {
    return { at: this.at, unix: this.at };
  }

  /** Lets the server's frames through, some of them changed. */
  private deliver(): void {
    if (this.random() < 0.3) this.server.publish(this.session, `other-${this.lastKey += 1}`, { a: 1 });
    if (this.random() < 0.1) this.sayGap();
    for (const frame of this.server.takeOutput() as Frame[]) {
      this.frames.push(frame);
      if (this.random() < 0.1) continue;
      const isChanged = this.random() < 0.3;
      this.machine.received(this.now(), isChanged ? mutated(this.random, frame, this.frames) : frame);
      if (isChanged && this.random() < 0.5) this.machine.received(this.now(), frame);
    }
    this.pump();
  }

  /** A gap somewhere around the log's end. */
  private sayGap(): void {
    const from = this.server.log(this.session).length - 3 + Math.floor(this.random() * 6);
    const cause = oneOf(this.random, ["overflow", "expired", "trimmed", "epoch", "diverged"]);
    this.server.say({ type: "gap", sessionId: this.session, fromSeq: from, toSeq: from + Math.floor(this.random() * 4), cause, history: true });
  }

  private publish(): void {
    const event = makeEvent({ n: this.lastKey }, {});
    if (!this.machine.makeRoom(this.session, event.bytes)) return;
    const ticket = (this.lastKey += 1);
    this.unlessEnded(() => {
      this.machine.publish(this.now(), { session: this.session, id: null, event, ticket });
      this.publishes.add(ticket);
    });
  }

  private follow(): void {
    const key = (this.lastKey += 1);
    this.unlessEnded(() => {
      this.machine.follow(this.now(), key, FOLLOW, this.session, oneOf(this.random, ["start", "live"]));
      this.commands.add(key);
      this.followKey = key;
      this.place = new Place();
    });
  }

  private leave(): void {
    this.ask((key, now) => this.machine.leave(now, key, this.session));
  }

  private ask(call: (key: number, now: Now) => void): void {
    const key = (this.lastKey += 1);
    this.unlessEnded(() => {
      call(key, this.now());
      this.commands.add(key);
    });
  }

  /** A call that a client may refuse, with an error of its own. */
  private unlessEnded(call: () => void): void {
    try {
      call();
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
    }
    this.pump();
  }

  private break(): void {
    this.isReachable = this.random() < 0.7;
    if (this.isOpen) {
      this.cutWires();
      this.machine.closed(this.now(), oneOf(this.random, [null, 1000, 1001, 1008, 1009, 1013, 4401, 4500, 9999]), "cut");
    }
    this.pump();
  }

  private pass(time: number): void {
    this.at += time;
    for (let turn = 0; turn < MAX_TURNS; turn += 1) {
      this.machine.timeout(this.now());
      this.pump();
      const next = this.machine.nextTimeout;
      if (next === null || next > this.at) return;
    }
    throw new Error("it waits for a moment that has passed");
  }

  private pump(): void {
    for (let turn = 0; turn < MAX_TURNS; turn += 1) {
      let isIdle = true;
      for (let frame = this.machine.transmit(this.now()); frame !== null; frame = this.machine.transmit(this.now())) {
        isIdle = false;
        if (this.isOpen) this.server.received(frame);
      }
      this.listen();
      const action = this.machine.pollAction();
      if (action?.type === "connect") this.connect(action.token);
      else if (action?.type === "fetchToken") this.machine.token(this.now(), this.random() < 0.8 ? { token: "t1" } : { error: "no" });
      else if (action) this.cutWires();
      else if (isIdle) return;
    }
    throw new Error("there is no end to it");
  }

  private connect(token: string | null): void {
    if (!this.isReachable) return this.machine.unreachable(this.now(), "refused");
    this.isOpen = true;
    this.server.accept(token);
    this.machine.opened(this.now(), this.server.codec.subprotocol);
  }

  private cutWires(): void {
    this.isOpen = false;
    this.server.cut();
  }

  private listen(): void {
    for (let told = this.machine.pollTold(); told; told = this.machine.pollTold()) {
      if (told.type === "published") expect(this.publishes.delete(told.ticket), "two outcomes").toBe(true);
      else if (told.type === "reply" || told.type === "failed") {
        expect(this.commands.delete(told.key), "two replies").toBe(true);
        if (told.key === this.followKey && told.type === "reply" && told.reply.type === "session_joined") this.place?.begin(told.reply.from.seq);
      }
      else if (told.type === "followEnded") {
        expect(this.place, "a follow ends twice").not.toBeNull();
        this.place = null;
      } else if (told.type === "item") {
        expect(this.place, "an item of a follow that has ended").not.toBeNull();
        this.place?.take(told.item);
      }
    }
    expect(this.machine.usage.messages, "events in the outbox").toBe(this.publishes.size);
  }
}

describe("changed frames", async () => {
  const msgpackCodec = await loadMsgpack();
  const first = Number(process.env.FUZZ_FIRST ?? 1);
  const games = Number(process.env.FUZZ_GAMES ?? 1_000);

  test.each([["JSON", jsonCodec], ["MessagePack", msgpackCodec]] as const)("in %s break no promise of the machine", (_, codec) => {
    for (let number = first; number < first + games; number += 1) {
      try {
        new Game(number, codec).play();
      } catch (error) {
        throw new Error(`game ${number} (FUZZ_FIRST=${number} FUZZ_GAMES=1 npx vitest run fuzz): ${String(error)}`, { cause: error });
      }
    }
  });
});
