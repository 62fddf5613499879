/**
 * Whatever happens to the connection: every publish is acked once, the log has it once and in order, and a follow gets every
 * entry once and in order.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jsonCodec } from "../src/codec.js";
import { loadMsgpack } from "../src/msgpack.js";
import { Pair, range } from "./support/pair.js";

const msgpackCodec = await loadMsgpack();

/** Something that happens. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("publish" as const), session: fc.nat(1), count: fc.integer({ min: 1, max: 19 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("up" as const), frames: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("down" as const), frames: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cut" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("vanish" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("appear" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pause" as const), isPaused: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("pass" as const), time: fc.integer({ min: 1, max: 3000 }) }) },
);

const manner = fc.record({
  isPacked: fc.boolean(),
  inFlight: fc.constantFrom(1, 5, 1024),
  refuseEvery: fc.option(fc.integer({ min: 2, max: 8 })),
  keepsOrder: fc.boolean(),
  deliverTwice: fc.boolean(),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Manner = typeof manner extends fc.Arbitrary<infer T> ? T : never;

function happen(pair: Pair, now: Step, sessions: string[], follow: number, published: number): number {
  switch (now.do) {
    case "publish":
      for (const number of range(published + 1, published + now.count)) pair.publish(sessions[now.session]!, number);
      return published + now.count;
    case "up":
      pair.carryUp(now.frames);
      break;
    case "down":
      pair.carryDown(now.frames);
      break;
    case "restart":
      pair.server.restart();
      pair.cut();
      break;
    case "cut":
      pair.cut();
      break;
    case "vanish":
    case "appear":
      pair.isReachable = now.do === "appear";
      break;
    case "pause":
      pair.machine.setPaused(sessions[1]!, follow, now.isPaused);
      pair.pump();
      break;
    case "pass":
      pair.pass(now.time);
  }
  return published;
}

function run(steps: Step[], how: Manner) {
  const pair = new Pair({ codec: how.isPacked ? msgpackCodec : jsonCodec, inFlight: how.inFlight });
  const sessions = [pair.create(), pair.create()];
  pair.server.faults = { keepsOrder: how.keepsOrder, deliverTwice: how.deliverTwice, ...(how.refuseEvery !== null && { refuseEvery: how.refuseEvery }) };
  // The second session is followed by its own publisher.
  const { follow } = pair.follow(sessions[1]!, "start");
  let published = 0;
  for (const now of steps) published = happen(pair, now, sessions, follow, published);
  pair.isReachable = true;
  pair.machine.setPaused(sessions[1]!, follow, false);
  pair.settleWithin(3_600_000);
  pair.settle();
  return { pair, sessions, follow, published };
}

/** Found by the property below: an entry that came between the end of a pause and the join that follows it. */
const FOUND: [Step[], Manner] = [
  [
    { do: "publish", session: 1, count: 1 }, { do: "up", frames: 1 }, { do: "down", frames: 1 },
    { do: "pause", isPaused: true }, { do: "down", frames: 1 },
  ],
  { isPacked: false, inFlight: 1, refuseEvery: null, keepsOrder: false, deliverTwice: false },
];

describe("whatever happens", () => {
  test("nothing is lost, doubled or reordered", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), manner, (steps, how) => {
        const { pair, sessions, follow, published } = run(steps, how);
        const stored = sessions.flatMap((session) => {
          const numbers = pair.numbers(session);
          // A server that refuses one event and takes the next has changed their order itself.
          if (how.refuseEvery === null || how.inFlight === 1 || how.keepsOrder) {
            expect(numbers).toEqual([...numbers].sort((one, other) => one - other));
          }
          return numbers;
        });
        expect(stored.sort((one, other) => one - other)).toEqual(range(1, published));
        for (const ticket of range(1, published)) expect(pair.outcome(ticket).status).toBe("stored");
        expect(pair.machine.usage).toEqual({ messages: 0, bytes: 0 });
        const log = pair.server.log(sessions[1]!);
        expect(pair.seqs(follow)).toEqual(range(1, log.length));
        expect(pair.words(follow).filter(({ type }) => type !== "disconnected" && type !== "resumed")).toEqual([]);
        const datas = pair.given.get(follow)!.flatMap((item) => ("data" in item ? [item.data] : []));
        expect(datas).toEqual(log.map(({ data }) => data));
      }),
      { numRuns: 2000, examples: [FOUND] },
    );
  });

  const strange = fc.oneof(
    fc.jsonValue(),
    fc.record({
      id: fc.constant("x"),
      type: fc.constantFrom("test_event", "system_message", "heartbeat", "error", "control_command", "new"),
      sessionId: fc.constantFrom("SESSION", undefined, 5),
      seq: fc.option(fc.oneof(fc.integer(), fc.double(), fc.constant(2 ** 64))),
      data: fc.oneof(
        fc.jsonValue(),
        fc.constantFrom<unknown>(
          { type: "ack", sessionId: "SESSION", originalMessageId: "e1", seq: 0 },
          { type: "ack", acks: [["e1", 2 ** 64], ["e1"], 4, null] },
          { type: "ack", acks: {} },
          { type: "from_tomorrow" },
          { type: "gap", sessionId: "SESSION", fromSeq: 9, toSeq: 3, cause: "expired", history: true },
          { error: "x", code: "overloaded", retryable: true, originalMessageId: "e1" },
          { error: "x", code: "overloaded", retryable: true, retryAfterMs: 2 ** 64, originalMessageId: "e1" },
          { error: "x", code: "new_code", retryable: false },
          { type: "disconnecting", code: 1, cause: "", detail: "", reconnect: "after", afterMs: 2 ** 64 },
          { type: "connection_established", heartbeatInterval: 2 ** 64, maxPayload: 0, tokenExpiresAt: 2 ** 64 },
          { type: "session_joined", originalMessageId: "RUNc1", from: { epoch: 1 } },
        ),
      ),
    }),
  );

  test("any messages from a server are survived", () => {
    fc.assert(
      fc.property(fc.array(strange, { maxLength: 20 }), (messages) => {
        const pair = Pair.plain();
        const session = pair.create();
        pair.follow(session, "start");
        pair.publish(session, 1);
        for (const message of messages) {
          pair.machine.received(pair.now(), JSON.stringify(message).replaceAll("SESSION", session));
          pair.carryDown();
        }
        pair.pass(1000);
        // It is still of use, or has said why not.
        expect(pair.machine.ended !== null || pair.machine.nextTimeout !== null).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("any frames from a server are survived", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.uint8Array()), { maxLength: 10 }), fc.boolean(), (frames, isPacked) => {
        const pair = Pair.plain({ codec: isPacked ? msgpackCodec : jsonCodec });
        for (const frame of frames) {
          pair.machine.received(pair.now(), frame);
          pair.pump();
        }
        pair.settleWithin();
        expect(pair.machine.isConnected).toBe(true);
      }),
    );
  });

  test("a run repeats itself to the byte", () => {
    const again = () => {
      const pair = Pair.plain();
      const session = pair.create();
      for (const number of range(1, 20)) {
        pair.publish(session, number);
        pair.carryUp(1);
        if (number % 7 === 0) {
          pair.cut();
          pair.pass(90);
        }
      }
      pair.settleWithin();
      return [pair.server.seen, pair.at, pair.machine.stats];
    };
    expect(again()).toEqual(again());
  });
});
