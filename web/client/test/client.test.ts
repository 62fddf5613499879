/**
 * The whole client with a transport and a store in memory: whenever it is cut off or dies, every accepted event is stored once
 * and in the order of the calls.
 */
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { Client } from "../src/client.js";
import type { ConnectOptions } from "../src/config.js";
import { connect, open } from "../src/connect.js";
import type { Follow, FollowOptions } from "../src/follow.js";
import type { Item } from "../src/item.js";
import type { Frame } from "../src/codec.js";
import { ClientError } from "../src/outcome.js";
import { fenced, lost } from "../src/store/in-use.js";
import type { OpenedStore, OutboxStore, StoredEvent } from "../src/store/store.js";
import type { Transport, TransportEvents } from "../src/transport.js";
import { range } from "./support/pair.js";
import { Server } from "./support/server.js";
import { until } from "./support/until.js";

/** One server in memory behind transports, one connection at a time. */
class Wire {
  readonly server = new Server();
  isReachable = true;
  private current: TransportEvents | null = null;

  readonly transport: Transport = ({ subprotocol, token }, events) => {
    if (!this.isReachable) throw new Error("nobody there");
    this.cut();
    this.current = events;
    queueMicrotask(() => {
      if (this.current !== events) return;
      this.server.accept(token);
      events.opened(subprotocol);
      this.flush(events);
    });
    return {
      buffered: 0,
      send: (frame: Frame) => {
        queueMicrotask(() => {
          if (this.current !== events) return;
          this.server.received(frame);
          this.flush(events);
        });
      },
      close: () => {
        if (this.current === events) this.current = null;
      },
    };
  };

  /** Another client publishes. */
  publish(session: string, id: string): void {
    this.server.publish(session, id);
    if (this.current) this.flush(this.current);
  }

  /** Somebody ends a session. */
  end(session: string, status: string): void {
    this.server.end(session, status);
    if (this.current) this.flush(this.current);
  }

  /** The server says something by itself. */
  say(data: Record<string, unknown>): void {
    this.server.say(data);
    if (this.current) this.flush(this.current);
  }

  private flush(events: TransportEvents): void {
    for (const frame of this.server.takeOutput()) events.received(frame as Frame);
  }

  /** Cuts the connection; what was on its way is lost. */
  cut(): void {
    const events = this.current;
    this.current = null;
    this.server.cut();
    events?.closed(null, "cut");
  }

  /** The client is gone without a word. */
  forget(): void {
    this.current = null;
    this.server.cut();
  }
}

/** A durable outbox in memory, whose writes take a turn. */
class MemoryStore implements OutboxStore {
  private epoch = 0;
  readonly kept = new Map<string, StoredEvent>();
  /** Fails the next append. */
  isFull = false;

  open(): Promise<OpenedStore> {
    this.epoch += 1;
    const mine = this.epoch;
    const check = (): void => {
      if (mine !== this.epoch) throw fenced();
    };
    return Promise.resolve({
      producerId: "p",
      events: [...this.kept.values()],
      append: async (events: readonly StoredEvent[]) => {
        await Promise.resolve();
        // In one step with the write, as a transaction is.
        check();
        if (this.isFull) throw new ClientError("store", "no room");
        for (const event of events) this.kept.set(event.id, event);
      },
      remove: (id: string) => {
        if (mine === this.epoch) this.kept.delete(id);
      },
      check: () => Promise.resolve().then(check),
      onFenced: () => undefined,
      close: () => Promise.resolve(),
    });
  }
}

function options(wire: Wire, more: Partial<ConnectOptions> = {}): ConnectOptions {
  return { url: "ws://model", token: "t", transport: wire.transport, backoff: { base: 0, max: 0 }, heartbeatInterval: null, closeTimeout: 0, ...more };
}

function numbers(wire: Wire, session: string): number[] {
  return wire.server.log(session).flatMap(({ data }) => (data as { number?: number }).number ?? []);
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await Promise.resolve();
}

type Step = { do: "publish"; count: number } | { do: "turns"; count: number } | { do: "cut" | "die" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("publish" as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("turns" as const), count: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: "cut" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "die" as const }) },
);

describe("a client with a durable outbox", () => {
  test("whenever it is cut off or dies, every accepted event is stored once and in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
        const wire = new Wire();
        const session = wire.server.prepare(0);
        const store = new MemoryStore();
        let client = await open(options(wire, { outbox: store }));
        const accepted: number[] = [];
        let published = 0;
        for (const now of steps) {
          if (now.do === "turns") await turns(now.count);
          else if (now.do === "publish") {
            for (const number of range(published + 1, published + now.count)) {
              client.enqueue(session, { number }).then(() => accepted.push(number), () => undefined);
            }
            published += now.count;
          } else if (now.do === "cut") wire.cut();
          else {
            wire.forget();
            const dead = client;
            client = await open(options(wire, { outbox: store }));
            // A dead one would do nothing more at all; this one still tries, and is fenced.
            void dead.close();
          }
        }
        await client.flush();
        const stored = numbers(wire, session);
        expect(stored).toEqual([...new Set(stored)].sort((one, other) => one - other));
        expect(accepted.filter((number) => !stored.includes(number))).toEqual([]);
        expect(client.outbox.messages).toBe(0);
        await client.close();
        expect(store.kept.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test("an event that cannot be written is not accepted, and later ones are", async () => {
    const wire = new Wire();
    const session = wire.server.prepare(0);
    const store = new MemoryStore();
    const client = await connect(options(wire, { outbox: store }));
    store.isFull = true;
    await expect(client.publish(session, { number: 1 })).rejects.toMatchObject({ kind: "store", retryable: true });
    const refused = client.enqueue(session, { number: 1 });
    // The one on its way is waited for, and that is all.
    const flushed = client.flush();
    await expect(refused).rejects.toMatchObject({ kind: "store" });
    await flushed;
    store.isFull = false;
    expect(await client.publish(session, { number: 2 })).toMatchObject({ status: "stored" });
    expect(numbers(wire, session)).toEqual([2]);
  });

  test("options that make no sense leave the outbox to its owner", async () => {
    const wire = new Wire();
    const store = new MemoryStore();
    const client = await connect(options(wire, { outbox: store }));
    vi.stubGlobal("WebSocket", undefined);
    await expect(open({ url: "ws://model", outbox: store })).rejects.toMatchObject({ kind: "invalid" });
    vi.unstubAllGlobals();
    await client.publish(wire.server.prepare(0), { number: 1 });
    expect(client.state).toBe("connected");
  });

  test("one that is fenced before it connects says so", async () => {
    const wire = new Wire();
    const store = new MemoryStore();
    const outbox: OutboxStore = {
      open: async () => {
        const opened = await store.open();
        await store.open();
        return opened;
      },
    };
    await expect(connect(options(wire, { outbox }))).rejects.toMatchObject({ kind: "fenced" });
  });
});

describe("a client", () => {
  test("that cannot connect says why; one with patience goes on", async () => {
    const wire = new Wire();
    wire.isReachable = false;
    await expect(connect(options(wire))).rejects.toMatchObject({ kind: "connect", message: expect.stringMatching(/nobody there/) as string });
    await expect(connect(options(wire, { connectPatience: 20 }))).rejects.toMatchObject({ kind: "connect" });
    const opening = connect(options(wire, { connectPatience: 30_000 }));
    await turns(50);
    wire.isReachable = true;
    const client: Client = await opening;
    expect(client.state).toBe("connected");
    await client.close();
    expect(client.state).toBe("ended");
  });

  test("with a listener that throws goes on", async () => {
    const wire = new Wire();
    const thrown: unknown[] = [];
    const plain = globalThis.queueMicrotask;
    vi.spyOn(globalThis, "queueMicrotask").mockImplementation((work) => {
      plain(() => {
        try {
          work();
        } catch (error) {
          thrown.push(error);
        }
      });
    });
    const client = await connect(options(wire, { onEvent: () => { throw new Error("a listener's mistake"); } }));
    await until("the mistake", () => thrown.length > 0);
    expect(client.state).toBe("connected");
    await client.close();
    vi.restoreAllMocks();
  });

  test("whose token provider fails asks again", async () => {
    const wire = new Wire();
    let asked = 0;
    const client = await open({ url: "ws://model", transport: wire.transport, backoff: { base: 0, max: 0 }, tokenProvider: () => {
      asked += 1;
      if (asked === 1) throw new Error("not now");
      return asked === 2 ? "no token" : "good";
    } });
    await until("a connection", () => client.state === "connected");
    expect(wire.server.tokens).toEqual(["good"]);
    await client.close();
  });
});

describe("a follow", () => {
  const finished = (follow: Follow): Promise<Item[]> => {
    const items: Item[] = [];
    return follow.forEach((item) => items.push(item)).then(() => items);
  };

  async function followed(status: string, more: number, how: FollowOptions, from: "start" | "live" = "start"): Promise<{ wire: Wire; client: Client; session: string; follow: Follow }> {
    const wire = new Wire();
    const session = wire.server.prepare(more);
    if (status !== "running") wire.server.end(session, status);
    const client = await connect(options(wire));
    return { wire, client, session, follow: await client.follow(session, from, how) };
  }

  const kinds = (items: Item[]): string[] => items.map((item) => (item.type === "lifecycle" ? item.change.type : item.type));

  test("ends when the session has ended and all of it was read", async () => {
    const { wire, client, session, follow } = await followed("running", 2, {});
    const all = finished(follow);
    wire.publish(session, "later");
    wire.end(session, "completed");
    expect(kinds(await all)).toEqual(["session_created", "event", "event", "event", "session_stopped"]);
    // Its place is free again, and the client goes on.
    expect(client.state).toBe("connected");
    await (await client.follow(session, "start", { stay: true })).next();
    await client.close();
  });

  test.each(["completed", "error", "expired"])("of a session that is %s already reads all of it, and ends", async (status) => {
    const { client, follow } = await followed(status, 3, {});
    expect(kinds(await finished(follow))).toEqual(["session_created", "event", "event", "event", status === "expired" ? "session_expired" : "session_stopped"]);
    await client.close();
  });

  test("live, or behind the last entry, of an ended session has nothing to read", async () => {
    const { client, session, follow } = await followed("completed", 3, {}, "live");
    expect(await follow.next()).toEqual({ done: true, value: undefined });
    const again = await client.follow(session, follow.position);
    expect(kinds(await finished(again)).filter((kind) => kind !== "resumed")).toEqual([]);
    await client.close();
  });

  test("that is slow gets all of it before its end", async () => {
    const wire = new Wire();
    const session = wire.server.prepare(50);
    wire.server.end(session, "completed");
    const client = await connect(options(wire, { followBuffer: 4 }));
    const follow = await client.follow(session, "start");
    await turns(50);
    expect(await finished(follow)).toHaveLength(52);
    await client.close();
  });

  test("goes on over a cut at its end", async () => {
    const { wire, client, session, follow } = await followed("running", 1, {});
    const all = finished(follow);
    await turns(20);
    wire.cut();
    wire.server.end(session, "error");
    expect(kinds(await all).at(-1)).toBe("session_stopped");
    await client.close();
  });

  test.each(["running", "completed"])("that is to stay does, in a session that was %s", async (status) => {
    const { wire, client, session, follow } = await followed(status, 1, { stay: true });
    const items: Item[] = [];
    const all = follow.forEach((item) => items.push(item));
    if (status === "running") wire.end(session, "completed");
    await until("the last entry", () => kinds(items).includes("session_stopped"));
    wire.say({ type: "user_left", sessionId: session, count: 0, participants: [], user: {} });
    await until("what comes after it", () => kinds(items).at(-1) === "presence");
    follow.close();
    await all;
    await client.close();
  });

  test("with a listener in its options calls it to the end", async () => {
    const heard: Item[] = [];
    const { client, follow } = await followed("completed", 2, { listener: (item) => heard.push(item) });
    await until("all", () => heard.length === 4);
    expect(await follow.next()).toEqual({ done: true, value: undefined });
    await client.close();
  });
});

describe("a durable outbox that is lost", () => {
  test("ends the client, which says why, before and after the next publish", async () => {
    const wire = new Wire();
    const session = wire.server.prepare(0);
    let over: (error: ClientError) => void = () => undefined;
    const outbox: OutboxStore = { open: async () => ({ ...(await new MemoryStore().open()), onFenced: (listener) => (over = listener) }) };
    const client = await connect(options(wire, { outbox }));
    expect(await client.publish(session, { number: 1 })).toMatchObject({ status: "stored" });
    over(lost("it was cleared"));
    await until("the end", () => client.state === "ended");
    expect(client.ended).toMatchObject({ kind: "store", detail: expect.stringContaining("it was cleared") as string });
    await expect(client.publish(session, { number: 2 })).rejects.toMatchObject({ kind: "ended", retryable: false, ended: { kind: "store" } });
  });
});
