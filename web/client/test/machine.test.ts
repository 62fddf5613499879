/** Situations that the conformance cases do not reach: pauses of a follow, recovered events, frames, the fence. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { utf8Length } from "../src/codec.js";
import { settingsOf } from "../src/config.js";
import { makeEvent } from "../src/event.js";
import { jsonCodec } from "../src/codec.js";
import { Machine } from "../src/machine/machine.js";
import { loadMsgpack } from "../src/msgpack.js";
import { Pair, range, settings } from "./support/pair.js";

const msgpackCodec = await loadMsgpack();

describe("a follow whose reader is full", () => {
  test("gets nothing while it is paused, and all of it afterwards, without a word about it", () => {
    const pair = Pair.plain();
    const session = pair.server.prepare(3);
    const { follow } = pair.follow(session, "start");
    pair.settle();
    pair.machine.setPaused(session, follow, true);
    pair.server.publish(session, "late-1");
    pair.settle();
    expect(pair.seqs(follow)).toEqual(range(1, 4));
    for (const number of range(2, 9)) pair.server.publish(session, `late-${number}`);
    pair.settle();
    expect(pair.seqs(follow)).toEqual(range(1, 4));
    expect(pair.machine.stats.deferred).toBeGreaterThan(0);
    pair.machine.setPaused(session, follow, false);
    pair.settle();
    expect(pair.seqs(follow)).toEqual(range(1, 13));
    expect(pair.words(follow)).toEqual([]);
  });

  test("is told of a loss that happened before the pause, and of none in it", () => {
    const pair = Pair.plain();
    const session = pair.server.prepare(1);
    const { follow } = pair.follow(session, "start");
    pair.settle();
    pair.cut();
    pair.machine.setPaused(session, follow, true);
    pair.settleWithin();
    pair.cut();
    pair.machine.setPaused(session, follow, false);
    pair.settleWithin();
    expect(pair.words(follow).map(({ type }) => type)).toEqual(["disconnected", "resumed"]);
  });

  test("is told when its place is lost meanwhile", () => {
    const pair = Pair.plain();
    const session = pair.server.prepare(5);
    const { follow } = pair.follow(session, "start");
    pair.settle();
    pair.machine.setPaused(session, follow, true);
    pair.settle();
    pair.server.loseTail(session, 2, "epoch-8");
    pair.cut();
    pair.machine.setPaused(session, follow, false);
    pair.settleWithin();
    expect(pair.words(follow)).toMatchObject([{ type: "notRecovered", reason: "unknown_epoch" }, { type: "gap", from: 1, to: 6, cause: "epoch" }]);
    expect(pair.seqs(follow)).toEqual([...range(1, 6), 1, 2]);
  });
});

describe("events of an earlier life", () => {
  test("are sent with their first time, and are in doubt from the start", () => {
    const pair = Pair.plain();
    const session = pair.create();
    pair.machine.publish(pair.now(), { session, id: "old", event: makeEvent({ a: 1 }, {}), ticket: 1, recoveredFrom: 42 });
    pair.server.faults = { refuseEvery: 1, refuseWith: "forbidden" };
    pair.settle();
    expect(pair.outcome(1)).toMatchObject({ status: "unknown", why: { kind: "refusedAgain" }, sent: true });
  });
});

describe("a seq that is no whole number", () => {
  test.each([1.5, -1, Infinity, "4", null])("%s is no entry, no gap and no ack", (seq) => {
    const pair = Pair.plain();
    const session = pair.server.prepare(3);
    const { follow } = pair.follow(session, "start");
    pair.settle();
    const odd = seq === Infinity ? "SEQ" : seq;
    const sent = (message: object): void => pair.machine.received(pair.now(), JSON.stringify(message).replaceAll("\"SEQ\"", "1e999"));
    sent({ id: "odd", type: "test_event", timestamp: 1, sessionId: session, data: {}, seq: odd, receivedAt: 1 });
    sent({ id: "m", type: "system_message", timestamp: 1, data: { type: "gap", sessionId: session, fromSeq: 4, toSeq: odd, cause: "overflow" } });
    sent({ id: "next", type: "test_event", timestamp: 1, sessionId: session, data: {}, seq: 4, receivedAt: 1 });
    pair.pump();
    expect(pair.seqs(follow)).toEqual(range(1, 4));
    expect(pair.words(follow)).toEqual([]);
  });
});

describe("a gap that ends before it begins", () => {
  test("is none, and no entry is given twice for it", () => {
    const pair = Pair.plain();
    const session = pair.server.prepare(4);
    const { follow } = pair.follow(session, "start");
    pair.settle();
    pair.server.say({ type: "gap", sessionId: session, fromSeq: 11, toSeq: 7, cause: "overflow", history: true });
    for (const number of range(5, 8)) pair.server.publish(session, `e${number}`);
    pair.server.faults = { deliverTwice: true };
    pair.server.publish(session, "e9");
    pair.settle();
    expect(pair.seqs(follow)).toEqual(range(1, 10));
    expect(pair.words(follow)).toEqual([]);
  });
});

describe("a position that a server could not read itself", () => {
  test.each(["\ud800", "x".repeat(3), { deep: JSON.parse("[".repeat(200) + "]".repeat(200)) as unknown }])("goes back to it in the next join", (lastId) => {
    const pair = Pair.plain();
    const session = pair.server.prepare(1);
    pair.follow(session, "start");
    pair.carryUp();
    const id = pair.server.seen.at(-1)?.split(" ")[1];
    const joined = { type: "session_joined", originalMessageId: id, sessionId: session, epoch: "e", headSeq: 1, from: { epoch: "\ud800", seq: 0, lastId }, recovered: true, session: {} };
    pair.machine.received(pair.now(), JSON.stringify({ id: "m", type: "system_message", timestamp: 1, data: joined }));
    pair.cut();
    expect(() => pair.settleWithin()).not.toThrow();
  });
});

describe("a producer that is fenced elsewhere", () => {
  test("comes back after 4409, since its outbox says whose turn it is", () => {
    const pair = Pair.plain({ isFencedElsewhere: true });
    pair.server.close(4409);
    pair.carryDown();
    expect(pair.machine.ended).toBeNull();
    pair.settleWithin();
    pair.pass(100);
    pair.settle();
    expect(pair.machine.isConnected).toBe(true);
  });
});

describe("frames", () => {
  test("hold many messages of several sessions, and no more than the server takes", () => {
    const pair = Pair.plain();
    const sessions = [pair.create(), pair.create()];
    for (const number of range(1, 400)) {
      const event = makeEvent({ number, fill: "x".repeat(900) }, {});
      pair.machine.publish(pair.now(), { session: sessions[number % 2]!, id: `e${number}`, event, ticket: number });
    }
    const sizes: number[] = [];
    for (let frame = pair.machine.transmit(pair.now()); frame !== null; frame = pair.machine.transmit(pair.now())) {
      sizes.push((frame as string).length);
      pair.server.received(frame);
    }
    expect(sizes.length).toBeLessThan(10);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(64 * 1024);
    pair.settle();
    // Neither session waits until the other is done.
    const kinds = pair.server.seen.filter((seen) => seen.startsWith("test_event")).map((seen) => Number(seen.slice(12)) % 2);
    expect(new Set(kinds.slice(0, 130)).size).toBe(2);
    for (const ticket of range(1, 400)) expect(pair.stored(ticket)[1]).toBe(false);
  });

  test("are measured in UTF-8", () => {
    for (const text of ["", "abc", "äöü", "€", "\u{1F600}", "a\u{1F600}b€"]) expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length);
  });
});

describe("options", () => {
  test("a worker's heartbeats are frequent enough to keep it alive", async () => {
    const url = "ws://x";
    expect((await settingsOf({ url, keepWorkerAlive: true, heartbeatInterval: 60_000 })).heartbeatInterval).toBe(20_000);
    expect((await settingsOf({ url, keepWorkerAlive: true })).heartbeatInterval).toBe(15_000);
    await expect(settingsOf({ url, keepWorkerAlive: true, heartbeatInterval: null })).rejects.toThrow(/keepWorkerAlive/);
  });
});

describe("an event", () => {
  test("is a JSON object with a decent id and life", () => {
    for (const data of [[], null, "x", 5, undefined, () => 1, { toJSON: () => 3 }, { big: 5n }]) {
      expect(() => makeEvent(data as unknown as Record<string, unknown>, {})).toThrow(/data/);
    }
    for (const id of ["", "a b", "a\nb", "x".repeat(129)]) expect(() => makeEvent({}, { id })).toThrow(/visible/);
    for (const ttl of [-1, 0.5, 86_400_001, NaN]) expect(() => makeEvent({}, { ttl })).toThrow(/ttl/);
    expect(makeEvent({ a: "ä" }, { id: "x", ttl: 5, priority: "high", traceparent: "00-1" })).toEqual({
      data: '{"a":"ä"}', bytes: 10, metadata: { priority: "high", ttl: 5, traceparent: "00-1" },
    });
  });

  /** Data with so many levels, of which every second one is an array. */
  function nested(levels: number): Record<string, unknown> {
    let inner: unknown = "[{ \" }]";
    for (let level = levels; level > 1; level -= 1) inner = level % 2 === 0 ? [inner] : { children: inner };
    return { inner };
  }

  test("has at most 120 levels, however wide it is", () => {
    const wide = { all: range(1, 500).map((number) => ({ number: [number, {}] })) };
    for (const data of [nested(1), nested(120), wide, { text: "[".repeat(500) + "\\\"{".repeat(200) }]) {
      const { data: text } = makeEvent(data, {});
      expect(JSON.parse(text)).toEqual(data);
      // What may be published can be written in both forms.
      expect(() => msgpackCodec.encode(`{"data":${text}}`)).not.toThrow();
    }
    for (const levels of [121, 127, 1000]) expect(() => makeEvent(nested(levels), {})).toThrow(/120 levels/);
    expect(() => makeEvent(nested(100_000), {})).toThrow(/data/);
  });

  const HALF = ["\ud83d", "\ude00", "a\udbff", "\udfffz", "\ude00\ud83d", '"\ud83d"', "\\\ud83d", "\n\udc00"];
  test.each(HALF.map((half) => [JSON.stringify(half), half]))("has whole characters only: %s is refused wherever it is", (_, half) => {
    for (const data of [{ a: half }, { [half]: 1 }, { a: [[{ b: half }]] }]) expect(() => makeEvent(data, {})).toThrow(/surrogate/);
    expect(() => makeEvent({}, { id: `e${half}`.replace(/\s/, "") })).toThrow(/visible/);
    expect(() => makeEvent({}, { traceparent: half })).toThrow(/surrogate/);
    const pair = Pair.plain();
    expect(() => pair.command({ command: "create_session", metadata: { half } })).toThrow(/surrogate/);
  });

  test("may say anything that is well-formed, also about surrogates", () => {
    fc.assert(
      fc.property(fc.record({ value: fc.jsonValue(), text: fc.string({ unit: "grapheme" }) }), (data) => {
        expect(JSON.parse(makeEvent(data, {}).data)).toEqual(JSON.parse(JSON.stringify(data)));
      }),
    );
    const data = { pair: "\u{1F600}", spelt: "\\ud83d", more: "\\\\ud83d\\u{1F600}", quoted: '\\"[{' };
    expect(JSON.parse(makeEvent(data, {}).data)).toEqual(data);
  });

  test("is refused exactly if a text of it is not well-formed", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0xd7f0, max: 0xe00f }), { maxLength: 6 }), (units) => {
        const text = String.fromCharCode(...units);
        const isWhole = !/\p{Cs}/u.test(text);
        if (isWhole) expect(() => makeEvent({ text }, {})).not.toThrow();
        else expect(() => makeEvent({ text }, {})).toThrow(/surrogate/);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("MessagePack", () => {
  const read = (json: string): unknown => msgpackCodec.decode(msgpackCodec.join([msgpackCodec.encode(json)]));
  /** The value with the members of its objects in the order of their keys: `__proto__` is put in last, wherever it stood. */
  const inOrder = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(inOrder);
    if (typeof value !== "object" || value === null) return value;
    const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
    return { members: members.map(([key, member]) => [key, inOrder(member)]) };
  };

  test("gives what JSON gives, whatever the keys are called", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const json = JSON.stringify({ value });
        expect(JSON.stringify(inOrder(read(json)))).toBe(JSON.stringify(inOrder(JSON.parse(json))));
      }),
      { examples: [[{ ["__proto__"]: [], "": "" }]] },
    );
    for (const json of ['{"__proto__":{"a":1},"b":[{"__proto__":[{"__proto__":null,"c":2}]}]}', '{"a":{"constructor":1,"toString":2,"__proto__x":3}}']) {
      // The order of keys may differ where one was put in later.
      expect(Object.entries(read(json) as object).sort()).toEqual(Object.entries(JSON.parse(json) as object).sort());
      expect(({} as Record<string, unknown>).a).toBeUndefined();
    }
  });

  test("that is none is still refused", () => {
    expect(() => msgpackCodec.decode(Uint8Array.of(0xc1))).toThrow();
    expect(() => msgpackCodec.decode("{}")).toThrow();
  });
});

describe("a replay whose reader leaves", () => {
  const now = { at: 0, unix: 0 };

  function connected(): { machine: Machine; sent: () => Record<string, unknown>[]; say: (type: string, data: object) => void } {
    const machine = new Machine(settings({ heartbeatInterval: null }));
    const say = (type: string, data: object): void => {
      machine.received(now, JSON.stringify({ id: "m", type, timestamp: 1, data }));
    };
    machine.start(now);
    machine.opened(now, jsonCodec.subprotocol);
    say("system_message", { type: "connection_established" });
    return {
      machine, say,
      sent: () => {
        const frame = machine.transmit(now) as string | null;
        return frame === null ? [] : [JSON.parse(frame) as Record<string, unknown>].flat();
      },
    };
  }

  test("is stopped on the server, by the id of its command, and what an older server says to that goes to nobody", () => {
    const { machine, sent, say } = connected();
    machine.replay(now, 1, 2, "s", 1, 1);
    const [asked] = sent();
    say("system_message", { type: "replay_started", originalMessageId: asked?.id, sessionId: "s", fromSeq: 1, toSeq: 9 });
    machine.stopReplay(now, "s", 2);
    const [stop, ...more] = sent();
    expect(more).toEqual([]);
    expect(stop).toMatchObject({ type: "control_command", data: { command: "stop_replay", sessionId: "s", originalMessageId: asked?.id } });
    while (machine.pollTold());
    say("error", { error: "no such command", code: "unknown_command", retryable: false, originalMessageId: stop?.id });
    expect(machine.pollTold()).toBeUndefined();
    expect(machine.isIdle).toBe(true);
  });

  test("before it was sent is never asked for", () => {
    const { machine, sent } = connected();
    machine.replay(now, 1, 2, "s", 1, 1);
    machine.stopReplay(now, "s", 2);
    expect(sent()).toEqual([]);
    expect(machine.isIdle).toBe(true);
  });
});
