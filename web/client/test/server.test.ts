/** Against the real server: all commands, crashes, restarts, tokens, formats, durable outboxes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Client, type ClientEvent, type ConnectOptions, type Item, connect, fileOutbox, open } from "../src/node.js";
import type { WebSocketClass } from "../src/transport.js";
import { range } from "./support/pair.js";
import { RealServer } from "./support/real-server.js";
import { until } from "./support/until.js";

let server: RealServer;
let token: string;
const clients: Client[] = [];
const folders: string[] = [];

beforeAll(async () => {
  server = await RealServer.start();
  token = server.token("--user", "ann");
});

afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
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

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "agentbench-outbox-"));
  folders.push(made);
  return made;
}

const NEW = { projectId: "shop", testId: "login", agentName: "agent" };

/** Numbers of the events of a session's log. */
async function numbers(client: Client, session: string): Promise<number[]> {
  const found: number[] = [];
  let next: number | null = 1;
  while (next !== null) {
    const page: Awaited<ReturnType<Client["getHistory"]>> = await client.getHistory(session, next);
    found.push(...page.events.flatMap(({ data }) => (data.number as number | undefined) ?? []));
    next = page.nextSeq;
  }
  return found;
}

describe("with the real server", () => {
  test("every command has its reply", async () => {
    const client = await connected();
    const session = await client.create({ ...NEW, metadata: { browser: "chromium" } });
    expect(session.info).toMatchObject({ status: "idle", projectId: "shop", metadata: { browser: "chromium" } });
    await session.start();
    await session.pause();
    await session.resume();
    expect(await session.publish({ eventType: "progress", percent: 50 })).toMatchObject({ status: "stored", seq: 5, duplicate: false, level: "logged" });
    expect(await client.getSessionInfo(session.id)).toMatchObject({ status: "running", headSeq: 5 });
    const { sessions } = await client.list({ projectId: "shop", limit: 1 });
    expect(sessions).toHaveLength(1);
    expect((await client.getHistory(session.id)).events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect((await client.getHistory(session.id, 2, 2)).nextSeq).toBe(4);
    const expires = await client.refreshToken(server.token("--user", "ann", "--ttl", "1000"));
    expect(expires).toBeGreaterThan(Date.now());
    await session.stop("error", "enough");
    expect(await client.getSessionInfo(session.id)).toMatchObject({ status: "error", reason: "enough" });
    const late = await session.publish({ eventType: "progress" });
    expect(late).toMatchObject({ status: "refused", refusal: { code: "session_closed" } });
    await session.leave();
    await expect(client.start(session.id)).rejects.toMatchObject({ kind: "refused", retryable: false, refusal: { code: "invalid_transition" } });
    await expect(client.join("00000000-0000-8000-8000-000000000001")).rejects.toMatchObject({ refusal: { code: "session_not_found" } });
  });

  test("a follow by iterator and one by callback see all of a session", async () => {
    const [publisher, reader] = [await connected(), await connected({ token: server.token("--user", "rita", "--role", "viewer") })];
    const session = await publisher.create(NEW);
    const follow = await reader.follow(session.id.toUpperCase(), "start");
    const heard: Item[] = [];
    const other = await connected({ token: server.token("--user", "rob", "--role", "viewer") });
    await other.follow(session.id, "live", (item) => heard.push(item));
    for (const number of range(1, 300)) void session.publish({ eventType: "console_log", number });
    const seqs: number[] = [];
    for await (const item of follow) {
      if (item.type === "event" || item.type === "lifecycle") seqs.push(item.seq);
      if (item.type === "event") expect(item.sender?.userId).toBe("ann");
      if (seqs.length === 301) break;
    }
    expect(seqs).toEqual(range(1, 301));
    expect(follow.position).toMatchObject({ epoch: session.info.epoch, seq: 301 });
    await until("all items", () => heard.filter(({ type }) => type === "event").length === 300);
    expect(publisher.stats.frames).toBeLessThan(100);
  });

  test("a replay gives the log again, over a crash, beside a follow, and for a slow reader", async () => {
    const client = await connected({ followBuffer: 8 });
    const session = await client.create(NEW);
    await Promise.all(range(1, 1500).map((number) => session.publish({ number, fill: "z".repeat(200) }, number === 7 ? { ttl: 1 } : {})));
    const live: Item[] = [];
    await session.follow("live", (item) => live.push(item));
    const replay = await session.replay({ speed: 64, fromSeq: 3 });
    expect([replay.fromSeq, replay.toSeq]).toEqual([3, 1501]);
    await expect(session.replay()).rejects.toMatchObject({ kind: "alreadyFollowing" });
    const seqs: number[] = [];
    for await (const item of replay) {
      expect(item.replay).toBe(true);
      if (item.type !== "gap") seqs.push(item.seq);
      if (seqs.length === 500) {
        await server.down("SIGKILL");
        await server.up();
      }
    }
    expect(seqs).toEqual(range(3, 1501));
    await session.publish({ number: 0 });
    await until("the follow", () => live.some((item) => item.type === "event"));
    expect(live.filter(({ type }) => type === "event")).toHaveLength(1);
    for await (const item of await session.replay({ speed: 64, fromSeq: 1500 })) {
      expect(item).toMatchObject({ seq: 1500 });
      break;
    }
    await expect(session.replay({ speed: 1000 })).rejects.toMatchObject({ kind: "refused", refusal: { field: "data.speed" } });
  });

  test("a reader that is slow holds nobody up, and misses nothing", async () => {
    const publisher = await connected();
    const reader = await connected({ followBuffer: 8 });
    const session = await publisher.create(NEW);
    const follow = await reader.follow(session.id, "start");
    const all = Promise.all(range(1, 2000).map((number) => session.publish({ number, fill: "x".repeat(200) })));
    // Nobody reads, and yet everything is stored.
    expect((await all).every(({ status }) => status === "stored")).toBe(true);
    await until("a full buffer", () => reader.stats.delivered >= 8);
    // Another session of the same client is not held up by it.
    const [own] = [await reader.create(NEW)];
    expect(await own.publish({ number: 0 })).toMatchObject({ status: "stored" });
    // A frame may bring more than there is room for; after it, the server is told to wait.
    expect(reader.stats.delivered).toBeLessThan(1000);
    const got: number[] = [];
    for await (const item of follow) {
      if (item.type === "event") got.push(item.data.number as number);
      else expect(["lifecycle", "presence"]).toContain(item.type);
      if (got.length === 2000) break;
    }
    expect(got).toEqual(range(1, 2000));
  });

  test.each(["json", "msgpack"] as const)("%s: kill -9 in the middle loses, doubles and reorders nothing", async (format) => {
    const events: ClientEvent[] = [];
    const client = await connected({ format, onEvent: (event) => events.push(event) });
    const reader = await connected({ format });
    const session = await client.create(NEW);
    const items: Item[] = [];
    await reader.follow(session.id, "start", (item) => items.push(item));
    const outcomes: Promise<{ status: string }>[] = [];
    for (const number of range(1, 600)) {
      outcomes.push(session.publish({ number, where: "ä\u{1F600}" }));
      if (number % 200 === 0) {
        await until("something in flight", () => client.stats.sent > number - 200);
        await server.down("SIGKILL");
        await server.up();
      }
    }
    expect((await Promise.all(outcomes)).filter(({ status }) => status !== "stored")).toEqual([]);
    await until("the last event", () => items.some((item) => item.type === "event" && item.data.number === 600));
    const got = items.flatMap((item) => (item.type === "event" ? [item.data.number as number] : []));
    expect(got).toEqual(range(1, 600));
    expect(items.map(({ type }) => type)).toEqual(expect.arrayContaining(["disconnected", "resumed"]));
    expect(items.some(({ type }) => type === "violation" || type === "gap")).toBe(false);
    expect(await numbers(client, session.id)).toEqual(range(1, 600));
    expect(events.filter(({ type }) => type === "connected").length).toBeGreaterThan(1);
  });

  test("a restart in good order is announced and survived", async () => {
    const events: ClientEvent[] = [];
    const client = await connected({ onEvent: (event) => events.push(event) });
    const session = await client.create(NEW);
    await server.down("SIGTERM");
    const outcome = session.publish({ number: 1 });
    await server.up();
    expect(await outcome).toMatchObject({ status: "stored" });
    expect(events.find(({ type }) => type === "disconnected")).toMatchObject({ code: 1012 });
  });

  test("bad tokens, no server, nonsense", async () => {
    await expect(connect(options({ token: "nonsense" }))).rejects.toMatchObject({ kind: "ended", ended: { kind: "http", status: 401 } });
    await expect(connect(options({ url: "ws://127.0.0.1:9" }))).rejects.toMatchObject({ kind: "connect", retryable: true });
    await expect(connect(options({ url: `${server.url}/nowhere` }))).rejects.toMatchObject({ ended: { kind: "http", status: 404 } });
    await expect(connect(options({ url: "http://127.0.0.1" }))).rejects.toMatchObject({ kind: "invalid" });
    await expect(connect(options({ token: "a b" }))).rejects.toMatchObject({ kind: "invalid" });
  });

  test("a token provider is asked at the start and before the end", async () => {
    const asked: number[] = [];
    const client = await connect({ url: server.url, tokenProvider: () => {
      asked.push(asked.length);
      return server.token("--user", "ann", "--ttl", asked.length === 1 ? "3" : "1000");
    } });
    clients.push(client);
    await until("a renewal", () => asked.length === 2);
    expect(client.state).toBe("connected");
    expect(client.stats.attempts).toBe(1);
  });

  test("the newer connection of a producer wins", async () => {
    const older = await connected({ producerId: "one" });
    await connected({ producerId: "one" });
    await until("the end of the older", () => older.ended);
    expect(older.ended).toMatchObject({ kind: "dismissed", code: 4409 });
  });

  test("a page's way in: a WebSocket class, the token as a subprotocol", async () => {
    const client = await connected({ WebSocket: WebSocket as unknown as WebSocketClass, producerId: "page 1".replace(" ", "-") });
    const session = await client.create(NEW);
    expect(await session.publish({ a: 1 }, { id: "x1" })).toMatchObject({ status: "stored", duplicate: false });
    expect(await session.publish({ a: 1 }, { id: "x1" })).toMatchObject({ status: "stored", duplicate: true });
    expect(await session.publish({ a: 2 }, { id: "x1" })).toMatchObject({ status: "refused", refusal: { code: "id_conflict" } });
  });

  test("events without an ack empty the outbox when they are sent, and let others in", async () => {
    const client = await connected({ outboxMessages: 1 });
    const session = await client.create(NEW);
    await Promise.all(range(1, 20).map((number) => client.publishUnacked(session.id, { number })));
    await client.flush();
    expect(client.outbox).toEqual({ messages: 0, bytes: 0 });
    expect(await session.publish({ number: 21 })).toMatchObject({ status: "stored" });
    expect(await numbers(client, session.id)).toEqual(range(1, 21));
  });

  test.each(["refuse", "wait"] as const)("a full outbox that is to %s", async (outboxPolicy) => {
    const directory = folder();
    const client = await connected({ outboxPolicy, outboxMessages: 5, outbox: fileOutbox({ directory }) });
    const session = await client.create(NEW);
    const results = await Promise.allSettled(range(1, 12).map((number) => session.publish({ number })));
    const turned = results.filter(({ status }) => status === "rejected");
    expect(turned).toHaveLength(outboxPolicy === "wait" ? 0 : 7);
    for (const result of turned) expect(result).toMatchObject({ reason: { kind: "outboxFull", retryable: true } });
    expect(await numbers(client, session.id)).toEqual(range(1, 12 - turned.length));
  });

  test("a command that the server does not know, a second follow, a closed client", async () => {
    const client = await connected();
    const session = await client.create(NEW);
    await session.follow("live");
    await expect(session.follow("start")).rejects.toMatchObject({ kind: "alreadyFollowing" });
    await expect(client.command({ command: "dance" })).rejects.toMatchObject({ refusal: { code: "unknown_command" } });
    await client.close();
    await expect(client.getSessionInfo(session.id)).rejects.toMatchObject({ kind: "ended", ended: { kind: "closed" } });
    await expect(session.publish({})).rejects.toMatchObject({ kind: "ended" });
  });

  test("a follow goes on from a position that was kept", async () => {
    const publisher = await connected();
    const session = await publisher.create(NEW);
    for (const number of range(1, 10)) await session.publish({ number });
    const first = await (await connected()).follow(session.id, "start");
    for (let taken = 0; taken < 5; taken += 1) await first.next();
    const { position } = first;
    first.close();
    const second = await (await connected()).follow(session.id, position);
    const seqs: number[] = [];
    for await (const item of second) {
      if (item.type === "event") seqs.push(item.seq);
      if (seqs.at(-1) === 11) break;
    }
    expect(seqs).toEqual(range(position.seq + 1, 11));
  });

  test("heartbeats measure the way", async () => {
    const client = await connected({ heartbeatInterval: 20 });
    expect(await until("a latency", () => client.latency)).toBeGreaterThan(0);
  });
});

describe("a durable outbox in a folder", () => {
  test("keeps events while there is no server, and over the client's end", async () => {
    const directory = folder();
    const first = await connected({ outbox: fileOutbox({ directory }) });
    const { id: session } = await first.create(NEW);
    await server.down("SIGTERM");
    const tickets = await Promise.all(range(1, 50).map((number) => first.enqueue(session, { number })));
    await first.close();
    expect(await tickets[0]!.outcome).toMatchObject({ status: "unknown", why: { kind: "ended" } });
    await server.up();
    const recovered: ClientEvent[] = [];
    const second = await connected({ outbox: fileOutbox({ directory }), onEvent: (event) => recovered.push(event) });
    expect(second.producerId).toBe(first.producerId);
    await second.flush();
    expect(await numbers(second, session)).toEqual(range(1, 50));
    const told = recovered.filter(({ type }) => type === "recovered");
    expect(told).toHaveLength(50);
    expect(told[0]).toMatchObject({ id: tickets[0]!.id, sessionId: session, outcome: { status: "stored" } });
    await second.close();
    const third = await connected({ outbox: fileOutbox({ directory }) });
    expect(third.outbox).toEqual({ messages: 0, bytes: 0 });
  });

  test("the newer client wins, the older one is fenced and knows it", async () => {
    const directory = folder();
    const older = await connected({ outbox: fileOutbox({ directory }) });
    const { id: session } = await older.create(NEW);
    await older.publish(session, { number: 1 });
    const newer = await connected({ outbox: fileOutbox({ directory }) });
    await expect(older.enqueue(session, { number: 99 })).rejects.toMatchObject({ kind: "fenced" });
    expect(older.ended).toMatchObject({ kind: "fenced" });
    await expect(older.publish(session, { number: 99 })).rejects.toMatchObject({ kind: "fenced" });
    expect(await newer.publish(session, { number: 2 })).toMatchObject({ status: "stored" });
    expect(await numbers(newer, session)).toEqual([1, 2]);
    expect(newer.state).toBe("connected");
  });

  test("an idle older client notices, too", async () => {
    const directory = folder();
    const older = await connected({ outbox: fileOutbox({ directory }) });
    const newer = await connected({ outbox: fileOutbox({ directory }) });
    await until("the end of the older", () => older.ended);
    expect(older.ended).toMatchObject({ kind: "fenced" });
    expect(newer.state).toBe("connected");
  });

  test("a process that is killed again and again publishes everything once and in order", async () => {
    const directory = folder();
    const keeper = await connected();
    const { id: session } = await keeper.create(NEW);
    const accepted: number[] = [];
    const script = fileURLToPath(new URL("support/publisher.mjs", import.meta.url));
    for (let life = 0; life < 4; life += 1) {
      const child = spawn(process.execPath, [script, server.url, token, directory, session, String(accepted.length + 1)], { stdio: ["ignore", "pipe", "inherit"] });
      const from = accepted.length;
      for await (const line of createInterface({ input: child.stdout })) {
        accepted.push(Number(line));
        if (accepted.length - from >= 150) break;
      }
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      if (life === 1) {
        await server.down("SIGKILL");
        await server.up();
      }
    }
    const last = await connected({ outbox: fileOutbox({ directory }) });
    await last.flush();
    const stored = await numbers(last, session);
    // The killed process may have put more into the outbox than it could say.
    expect(stored).toEqual(range(1, Math.max(stored.length, accepted.length)));
  });

  test("the example for Node publishes lines, and sends after a kill what it had left", async () => {
    const directory = folder();
    const keeper = await connected();
    const { id: session } = await keeper.create(NEW);
    const script = fileURLToPath(new URL("../examples/node/publish.mjs", import.meta.url));
    const run = () => spawn(process.execPath, [script, server.url, directory, session], { env: { ...process.env, AGENTBENCH_TOKEN: token } });
    const first = run();
    const said = createInterface({ input: first.stdout });
    first.stdin.write("one\ntwo\n");
    for await (const line of said) if (line.endsWith("two")) break;
    await server.down("SIGTERM");
    first.stdin.write("three\n");
    // Accepted when it is in the folder.
    await until("the line in the folder", () => readdirSync(directory).some((name) => readFileSync(join(directory, name), "utf8").includes("three")));
    first.kill("SIGKILL");
    await once(first, "exit");
    await server.up();
    const second = run();
    second.stdin.end("four\n");
    const [code] = (await once(second, "exit")) as [number];
    expect(code).toBe(0);
    const { events } = await keeper.getHistory(session);
    expect(events.filter(({ type }) => type === "test_event").map(({ data }) => data.message)).toEqual(["one", "two", "three", "four"]);
  });

  test("a client may be opened before there is a server", async () => {
    const directory = folder();
    const keeper = await connected();
    const { id: session } = await keeper.create(NEW);
    await server.down("SIGTERM");
    const client = await open(options({ outbox: fileOutbox({ directory, sync: "none" }) }));
    clients.push(client);
    const { outcome } = await client.enqueue(session, { number: 7 });
    expect(client.state).toBe("connecting");
    await server.up();
    expect(await outcome).toMatchObject({ status: "stored" });
  });
});
