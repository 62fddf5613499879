/** With the real server: events that cannot be read or carried, names in any script, the ends of sessions. */
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, type Server, type Socket, connect as dial, createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Client, type ClientEvent, type ConnectOptions, type Item, connect, fileOutbox, open } from "../src/node.js";
import { range } from "./support/pair.js";
import { RealServer } from "./support/real-server.js";

let server: RealServer;
let token: string;
let keeper: Client;
const clients: Client[] = [];
const folders: string[] = [];

beforeAll(async () => {
  server = await RealServer.start();
  token = server.token("--user", "ann");
  keeper = await connect(options());
});

afterAll(async () => {
  await Promise.all([keeper, ...clients].map((client) => client.close()));
  await server.remove();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function options(more: Partial<ConnectOptions> = {}): ConnectOptions {
  return { url: server.url, token, backoff: { base: 20, max: 200 }, closeTimeout: 100, ...more };
}

async function connected(more: Partial<ConnectOptions> = {}): Promise<Client> {
  const client = await connect(options(more));
  clients.push(client);
  return client;
}

async function newSession(): Promise<string> {
  return (await keeper.create({ projectId: "shop", testId: "relay", agentName: "agent" })).id;
}

async function numbers(session: string): Promise<unknown[]> {
  return (await keeper.getHistory(session)).events.filter(({ type }) => type === "test_event").map(({ data }) => data.number);
}

/** Passes everything on, and resets a connection after so many of the client's bytes. */
class Relay {
  rounds = 0;
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  private constructor(port: number, limit: number) {
    this.server = createServer((near) => {
      this.rounds += 1;
      const far = dial(port, "127.0.0.1");
      let passed = 0;
      for (const socket of [near, far]) {
        this.sockets.add(socket);
        socket.on("error", () => socket.destroy());
        socket.on("close", () => {
          this.sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      far.pipe(near);
      near.on("data", (part: Buffer) => {
        passed += part.length;
        if (passed <= limit) far.write(part);
        else near.resetAndDestroy();
      });
    });
  }

  static async start(target: string, limit: number): Promise<Relay> {
    const relay = new Relay(Number(new URL(target).port), limit);
    relay.server.listen(0, "127.0.0.1");
    await once(relay.server, "listening");
    return relay;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

test("a relay that resets after 8 kB of the client's bytes: the event of 20 kB is given up, the others are stored in order", async () => {
  const session = await newSession();
  const relay = await Relay.start(server.url, 8000);
  const told: ClientEvent[] = [];
  const client = await connected({ url: relay.url, transport: "websocket", backoff: { base: 5, max: 2000 }, onEvent: (event) => told.push(event) });
  const outcomes = await Promise.all(range(1, 4).map((number) => client.publish(session, { number, ...(number === 2 && { fill: "x".repeat(20_000) }) })));
  expect(outcomes.map(({ status }) => status)).toEqual(["stored", "unknown", "stored", "stored"]);
  expect(outcomes[1]).toMatchObject({ why: { kind: "breaks" }, sent: true });
  expect(await numbers(session)).toEqual([1, 3, 4]);
  // The first connection, eight breaks at the large one, and at most some more with the first event before it.
  expect(relay.rounds).toBeGreaterThanOrEqual(9);
  expect(relay.rounds).toBeLessThan(20);
  relay.stop();
});

/** The text of an object with so many levels of `{"children":[…]}`, which no SDK of today would take. */
function deep(levels: number): string {
  return `${'{"children":['.repeat(levels)}${"]}".repeat(levels)}`;
}

test.each(["websocket", "sse"] as const)("a durable outbox with an event that the server cannot read, over %s: that one is refused with its reason, the others are stored", async (transport) => {
  const session = await newSession();
  const directory = mkdtempSync(join(tmpdir(), "agentbench-relay-"));
  folders.push(directory);
  const store = await fileOutbox({ directory }).open(null);
  await store.append(range(1, 4).map((number) => ({
    id: `e${number}`, sessionId: session, timestamp: 1, metadata: "{}", data: number === 2 ? deep(70) : JSON.stringify({ number }),
  })));
  await store.close();
  const recovered: ClientEvent[] = [];
  const client = await open(options({ transport, outbox: fileOutbox({ directory }), onEvent: (event) => event.type === "recovered" && recovered.push(event) }));
  clients.push(client);
  await client.flush();
  expect(recovered).toHaveLength(4);
  expect(recovered.find((event) => event.type === "recovered" && event.id === "e2")).toMatchObject({ outcome: { status: "refused", refusal: { code: "payload_too_large" } } });
  expect(await numbers(session)).toEqual([1, 3, 4]);
  await client.close();
  const left = await fileOutbox({ directory }).open(null);
  expect(left.events).toEqual([]);
  await left.close();
});

test("more events that the server cannot read than it takes in a row do not end the client", async () => {
  const session = await newSession();
  const directory = mkdtempSync(join(tmpdir(), "agentbench-relay-"));
  folders.push(directory);
  const store = await fileOutbox({ directory }).open(null);
  await store.append(range(1, 30).map((number) => ({
    id: `e${number}`, sessionId: session, timestamp: 1, metadata: "{}", data: number < 26 ? deep(70) : JSON.stringify({ number }),
  })));
  await store.close();
  const statuses: string[] = [];
  const client = await open(options({
    transport: "websocket", outbox: fileOutbox({ directory }), onEvent: (event) => event.type === "recovered" && statuses.push(event.outcome.status),
  }));
  clients.push(client);
  await client.flush();
  expect(client.ended).toBeNull();
  expect(statuses).toEqual(range(1, 30).map((number) => (number < 26 ? "refused" : "stored")));
  expect(await numbers(session)).toEqual(range(26, 30));
});

test.each(["json", "msgpack"] as const)("what may be published at all is stored and read in %s: 120 levels", async (format) => {
  const session = await newSession();
  const client = await connected({ format });
  const data = JSON.parse(deep(60)) as Record<string, unknown>;
  expect(await client.publish(session, data)).toMatchObject({ status: "stored" });
  await expect(client.publish(session, { data })).rejects.toMatchObject({ kind: "invalid" });
  await expect(client.publish(session, { half: "\ud83d" })).rejects.toMatchObject({ kind: "invalid" });
  const follow = await client.follow(session, "start");
  const items: Item[] = [(await follow.next()).value!, (await follow.next()).value!];
  expect(items[1]).toMatchObject({ type: "event", data });
});

test.each(["websocket", "sse"] as const)("a producer may have a name in any script, over %s", async (transport) => {
  const session = await newSession();
  for (const producerId of ["größe-1", "日本のテスト", "\u{1F600}a&b=c#d%20+"]) {
    const [first, second] = [await connected({ transport, producerId }), await connected({ transport, producerId: `${producerId}-2` })];
    const id = `same-${producerId}`;
    expect(await first.publish(session, { number: 1 }, { id })).toMatchObject({ status: "stored", duplicate: false });
    // Another producer's event of the same id is another event.
    expect(await second.publish(session, { number: 1 }, { id })).toMatchObject({ status: "stored", duplicate: false });
    expect(await first.publish(session, { number: 1 }, { id })).toMatchObject({ status: "stored", duplicate: true });
  }
});

describe.each(["websocket", "sse"] as const)("over %s", (transport) => {
  test("a follow ends with its session, and one of an ended session when all was read", async () => {
    const session = await newSession();
    const reader = await connected({ transport });
    await keeper.start(session);
    const follow = await reader.follow(session, "start");
    const staying = await (await connected({ transport })).follow(session, "start", { stay: true });
    const items: Item[] = [];
    const all = follow.forEach((item) => items.push(item));
    for (const number of range(1, 3)) await keeper.publish(session, { number });
    await keeper.stop(session);
    await all;
    const entries = items.filter(({ type }) => type === "event" || type === "lifecycle");
    expect(entries.map((item) => ("seq" in item ? item.seq : 0))).toEqual(range(1, 6));
    expect(entries.at(-1)).toMatchObject({ type: "lifecycle", change: { type: "session_stopped" } });
    const again: Item[] = [];
    await (await reader.follow(session, "start")).forEach((item) => again.push(item));
    expect(again.filter(({ type }) => type === "event")).toHaveLength(3);
    expect((await (await reader.follow(session, "live")).next()).done).toBe(true);
    // Nothing of all this has ended a connection.
    expect([reader.state, reader.stats.reconnects]).toEqual(["connected", 0]);
    let seen = 0;
    for (let next = await staying.next(); seen < 6; next = await staying.next()) if (next.value && "seq" in next.value) seen = next.value.seq;
    staying.close();
  });
});
