/** Where WebSockets do not get through: the same events, positions and outcomes over HTTP. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Frame, jsonCodec } from "../src/codec.js";
import { Api, httpBase, timeIn } from "../src/fallback/api.js";
import { carryOut } from "../src/fallback/commands.js";
import { HttpLink } from "../src/fallback/link.js";
import { SseReader } from "../src/fallback/sse.js";
import { type Client, type ClientEvent, type ConnectOptions, type Item, connect, fileOutbox, open } from "../src/node.js";
import { BlockingProxy } from "./support/blocking-proxy.js";
import { range } from "./support/pair.js";
import { RealServer } from "./support/real-server.js";
import { until } from "./support/until.js";

describe("the reader of streams", () => {
  const stream = "retry: 1000\nid: a:1\ndata: {\"a\":1}\n\n: heartbeat\n\r\ndata:x\r\ndata: y\r\n\r\nevent: e\ndata\ndata: z\n\ndata: unfinished";
  test.each([1, 2, 3, 7, 1000])("gives the same events from pieces of %i characters", (size) => {
    const got: string[] = [];
    const reader = new SseReader((data) => got.push(data));
    for (let at = 0; at < stream.length; at += size) reader.push(stream.slice(at, at + size));
    expect(got).toEqual(['{"a":1}', "x\ny", "\nz"]);
  });
});

test("addresses and tokens", () => {
  expect(httpBase("ws://h:3001")).toBe("http://h:3001/");
  expect(httpBase("wss://h/bench/ws?x=1#y")).toBe("https://h/bench/");
  expect(httpBase("wss://h/bench/")).toBe("https://h/bench/");
  const token = `h.${btoa('{"iat":5,"exp":12}')}.s`;
  expect([timeIn(token, "iat"), timeIn(token, "exp")]).toEqual([5000, 12_000]);
  for (const odd of [null, "", "a", "a.b.c", `h.${btoa('{"exp":"12"}')}.s`]) expect(timeIn(odd, "exp")).toBeNull();
});

test("POSTs ask for strictness if the options or the address do", async () => {
  const asked: string[] = [];
  const web = createServer((request, response) => {
    asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
    response.end("{}");
  }).listen(0, "127.0.0.1");
  await once(web, "listening");
  const url = `ws://127.0.0.1:${(web.address() as AddressInfo).port}/ws`;
  for (const api of [new Api(url, null, "p"), new Api(url, null, "p", true), new Api(`${url}?strict=1`, null, "p"), new Api(`${url}?strict=0`, null, "p")]) {
    await api.json("x", { method: "POST" });
    await api.json("x");
  }
  const [plain, strict] = ["POST /x?producerId=p", "POST /x?producerId=p&strict=1"];
  expect(asked).toEqual([plain, "GET /x", strict, "GET /x", strict, "GET /x", plain, "GET /x"]);
  web.close();
});

describe("an older server", () => {
  const create = { command: "create_session", projectId: "shop", testId: "t", agentName: "a" };
  const start = { command: "start_test", sessionId: "s" };
  test.each([
    ["knows no such method", 405, '{"type":"error","data":{"error":"other methods","code":"invalid_message","retryable":false}}'],
    ["knows no such address", 404, '{"type":"error","data":{"error":"nothing here","code":"not_found","retryable":false}}'],
    ["is behind a page of its own", 404, "<h1>Not found</h1>"],
  ])("that %s says that the command is not there over HTTP", async (_, status, body) => {
    const web = createServer((_request, response) => response.writeHead(status).end(body)).listen(0, "127.0.0.1");
    await once(web, "listening");
    const api = new Api(`ws://127.0.0.1:${(web.address() as AddressInfo).port}`, null, "p");
    for (const command of [create, start]) {
      await expect(carryOut(api, "c1", command)).rejects.toMatchObject({ data: { code: "unknown_command", retryable: false } });
    }
    web.close();
  });

  test("any other refusal is the command's own", async () => {
    const asked: string[] = [];
    const web = createServer((request, response) => {
      request.on("data", (part: Buffer) => asked.push(part.toString()));
      request.on("end", () => response.writeHead(404).end('{"type":"error","data":{"error":"no","code":"session_not_found","retryable":false}}'));
    }).listen(0, "127.0.0.1");
    await once(web, "listening");
    const api = new Api(`ws://127.0.0.1:${(web.address() as AddressInfo).port}`, null, "p");
    await expect(carryOut(api, "c1", start)).rejects.toMatchObject({ status: 404, data: { code: "session_not_found" } });
    expect(asked.map((text) => JSON.parse(text) as unknown)).toEqual([{ id: "c1", command: "start_test" }]);
    web.close();
  });
});

test("a proxy that answers a stream for a server that is away ends the link with the reason", async () => {
  // As docs/deploy/nginx.conf does it: with 200, since an EventSource would give up on anything else.
  const unavailable = 'retry: 5000\nevent: unavailable\ndata: {"status":"502","retryAfterMs":5000,"detail":"the server is away or restarting"}\n\n';
  const web = createServer((request, response) => {
    if (request.url?.includes("/stream")) response.writeHead(200, { "Content-Type": "text/event-stream" }).end(unavailable);
    else response.writeHead(200, { "Content-Type": "application/json" }).end('{"sessions":[]}');
  }).listen(0, "127.0.0.1");
  await once(web, "listening");
  const url = `ws://127.0.0.1:${(web.address() as AddressInfo).port}`;
  const received: Frame[] = [];
  const closed = await new Promise<unknown[]>((resolve, reject) => {
    const link: HttpLink = new HttpLink({ url, subprotocol: "agentbench.v1.json", token: "t.o.k", producerId: "p" }, jsonCodec, {
      opened: () => {
        link.send(JSON.stringify({ id: "j", type: "control_command", timestamp: 0, data: { command: "join_session", sessionId: "s", from: "start" } }));
      },
      received: (frame) => received.push(frame),
      heard: () => undefined,
      refused: (...why) => {
        reject(new Error(`refused: ${why.join(" ")}`));
      },
      closed: (...why) => {
        resolve(why);
      },
    });
  });
  web.close();
  expect(closed).toEqual([null, expect.stringContaining("the server is away or restarting") as string]);
  expect(received.map(String).filter((text) => text.includes("session_joined"))).toEqual([]);
});

describe("with the real server behind a proxy that lets no WebSocket through", () => {
  let server: RealServer;
  let token: string;
  let keeper: Client;
  let proxy: BlockingProxy;
  let told: ClientEvent[] = [];
  const clients: Client[] = [];
  const folders: string[] = [];

  beforeAll(async () => {
    server = await RealServer.start();
    token = server.token("--user", "ann");
    keeper = await connect({ url: server.url, token, backoff: { base: 20, max: 200 } });
  });

  beforeEach(async () => {
    told = [];
    proxy = await BlockingProxy.start(() => server.url);
  });

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    proxy.stop();
  });

  afterAll(async () => {
    await keeper.close();
    await server.remove();
    for (const made of folders) rmSync(made, { recursive: true, force: true });
  });

  function options(more: Partial<ConnectOptions> = {}): ConnectOptions {
    return { url: proxy.url, token, backoff: { base: 20, max: 200 }, closeTimeout: 100, onEvent: (event) => told.push(event), ...more };
  }

  async function connected(more: Partial<ConnectOptions> = {}): Promise<Client> {
    const client = await connect(options(more));
    clients.push(client);
    return client;
  }

  async function newSession(): Promise<string> {
    return (await keeper.create({ projectId: "shop", testId: "http", agentName: "agent" })).id;
  }

  async function numbers(session: string): Promise<unknown[]> {
    const found: unknown[] = [];
    for (let next: number | null = 1; next !== null; ) {
      const page: Awaited<ReturnType<Client["getHistory"]>> = await keeper.getHistory(session, next);
      found.push(...page.events.filter(({ type }) => type === "test_event").map(({ data }) => data.number));
      next = page.nextSeq;
    }
    return found;
  }

  const numbersOf = (items: Item[]): unknown[] => items.flatMap((item) => (item.type === "event" ? [item.data.number] : []));

  test.each(["cut", "answer"] as const)("upgrades: %s. The first connect goes around it, and everything is there that HTTP has", async (upgrades) => {
    proxy.upgrades = upgrades;
    const client = await connected();
    expect(client.transport).toBe("sse");
    expect(told.filter(({ type }) => type === "transport")).toEqual([expect.objectContaining({ transport: "sse" })]);
    expect(proxy.asked).toBe(3);
    const id = await newSession();
    const session = await client.join(id);
    const items: Item[] = [];
    await session.follow("start", (item) => items.push(item));
    const first = await session.publish({ number: 1, where: "ä\u{1F600}" }, { id: "own", priority: "high", ttl: 60_000 });
    expect(first).toMatchObject({ status: "stored", seq: 2, duplicate: false, level: "logged", epoch: session.info.epoch });
    expect(await session.publish({ number: 1, where: "ä\u{1F600}" }, { id: "own" })).toMatchObject({ status: "stored", seq: 2, duplicate: true });
    expect(await session.publish({ number: 2 }, { id: "own" })).toMatchObject({ status: "refused", refusal: { code: "id_conflict" } });
    await client.publishUnacked(id, { number: 3 });
    await until("the one without an ack", () => numbersOf(items).includes(3));
    await keeper.start(id);
    await until("all", () => items.some((item) => item.type === "lifecycle" && item.change.type === "session_started"));
    expect(items.filter(({ type }) => type !== "presence").map(({ type }) => type)).toEqual(["lifecycle", "event", "event", "lifecycle"]);
    expect(items.find(({ type }) => type === "event")).toMatchObject({ id: "own", data: { where: "ä\u{1F600}" }, sender: { userId: "ann" } });
    expect(await client.getSessionInfo(id)).toMatchObject({ status: "running", headSeq: 4 });
    expect((await client.list({ projectId: "shop", limit: 1 })).sessions).toHaveLength(1);
    expect((await client.getHistory(id)).events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect((await client.getHistory(id, 2, 2)).nextSeq).toBe(4);
    await session.leave();
    expect(await client.refreshToken(server.token("--user", "ann", "--ttl", "1000"))).toBeGreaterThan(Date.now());
    await expect(client.refreshToken("not.a.token")).rejects.toMatchObject({ kind: "refused", refusal: { code: "not_authenticated" } });
    expect(proxy.seen).toContain("GET /api/v1/sessions/ID/stream");
  });

  test("sessions are created and led", async (context) => {
    const { status } = await fetch(`${proxy.url.replace("ws", "http")}/api/v1/sessions`, { method: "POST" });
    context.skip(status === 405, "the server is older than these routes");
    const client = await connected({ transport: "sse" });
    const session = await client.create({ projectId: "shop", testId: "http", agentName: "agent", metadata: { build: "7" } });
    expect(session.info).toMatchObject({ projectId: "shop", metadata: { build: "7" } });
    expect(await client.start(session.id)).toMatchObject({ type: "session_started", sessionId: session.id });
    await expect(client.start(session.id)).rejects.toMatchObject({ kind: "refused", refusal: { code: "invalid_transition" } });
    expect(await session.publish({ number: 1 })).toMatchObject({ status: "stored" });
    await session.pause();
    await session.resume();
    expect(await client.stop(session.id, "error", "no more")).toMatchObject({ type: "session_stopped", reason: "no more" });
    expect(await client.getSessionInfo(session.id)).toMatchObject({ status: "error" });
    const viewer = await connected({ transport: "sse", token: server.token("--user", "vic", "--role", "viewer") });
    await expect(viewer.create({ projectId: "shop", testId: "http", agentName: "agent" })).rejects.toMatchObject({ refusal: { code: "forbidden" } });
    const missing = "00000000-0000-8000-8000-000000000001";
    await expect(client.start(missing)).rejects.toMatchObject({ refusal: { code: "session_not_found" } });
  });

  test("what HTTP does not have, and what is refused there, says so", async () => {
    const client = await connected({ transport: "sse" });
    expect(proxy.asked).toBe(0);
    const id = await newSession();
    for (const ask of [() => client.replaySession(id), () => client.command({ command: "get_stats" })]) {
      await expect(ask()).rejects.toMatchObject({ kind: "refused", retryable: false, refusal: { code: "unknown_command" }, message: expect.stringContaining("over HTTP") as string });
    }
    const missing = "00000000-0000-8000-8000-000000000001";
    await expect(client.join(missing)).rejects.toMatchObject({ refusal: { code: "session_not_found" } });
    await expect(client.follow(missing, "start")).rejects.toMatchObject({ refusal: { code: "session_not_found" } });
    expect(await client.publish(missing, { number: 1 })).toMatchObject({ status: "refused", refusal: { code: "session_not_found" } });
    const viewer = await connected({ transport: "sse", token: server.token("--user", "vic", "--role", "viewer") });
    expect(await viewer.publish(id, { number: 1 })).toMatchObject({ status: "refused", refusal: { code: "forbidden" } });
    await keeper.start(id);
    await keeper.stop(id);
    expect(await client.publish(id, { number: 1 })).toMatchObject({ status: "refused", refusal: { code: "session_closed" } });
  });

  test("a token that is bad ends the client as on a socket, and a provider's new one is used", async () => {
    await expect(connect(options({ token: "bad.token.here" }))).rejects.toMatchObject({ kind: "ended", ended: { kind: "http", status: 401 } });
    const tokens = [server.token("--user", "ann")];
    const client = await connect(options({ token: "bad.token.here", connectPatience: 20_000, tokenProvider: () => tokens.shift() ?? "none" }));
    clients.push(client);
    expect(client.transport).toBe("sse");
    expect(tokens).toEqual([]);
  });

  test("a stream that was begun with an older token ends with that token, and goes on with the newer one", async () => {
    const client = await connected({ transport: "sse", token: server.token("--user", "ann", "--ttl", "2") });
    const id = await newSession();
    const items: Item[] = [];
    await client.follow(id, "start", (item) => items.push(item));
    await client.refreshToken(server.token("--user", "ann"));
    // The server cuts a stream ten seconds after its token has ended.
    await until("the way back", () => items.some(({ type }) => type === "resumed"));
    expect(await client.publish(id, { number: 1 })).toMatchObject({ status: "stored" });
    await until("it", () => numbersOf(items).includes(1));
    expect(client.ended).toBeNull();
  });

  test.each(["json", "msgpack"] as const)("%s: cuts in the middle and kill -9 lose, repeat and reorder nothing", async (format) => {
    const client = await connected({ format });
    const reader = await connected({ format });
    const id = await newSession();
    const items: Item[] = [];
    await reader.follow(id, "start", (item) => items.push(item));
    const outcomes: Promise<{ status: string }>[] = [];
    for (const number of range(1, 900)) {
      outcomes.push(client.publish(id, { number, fill: "x".repeat(number % 300) }));
      if (number % 100 !== 0) continue;
      await until("something is sent", () => client.stats.sent > number - 100);
      if (number % 300 === 0) {
        await server.down("SIGKILL");
        await server.up();
      } else {
        proxy.cut();
      }
    }
    expect((await Promise.all(outcomes)).filter(({ status }) => status !== "stored")).toEqual([]);
    await until("the last event", () => numbersOf(items).includes(900));
    expect(numbersOf(items)).toEqual(range(1, 900));
    expect(items.map(({ type }) => type)).toEqual(expect.arrayContaining(["disconnected", "resumed"]));
    expect(items.filter(({ type }) => type === "violation" || type === "gap" || type === "notRecovered")).toEqual([]);
    expect(await numbers(id)).toEqual(range(1, 900));
    expect([client.transport, reader.transport]).toEqual(["sse", "sse"]);
  });

  test("a slow reader holds up nobody, and misses nothing", async () => {
    const reader = await connected({ followBuffer: 8 });
    const id = await newSession();
    const follow = await reader.follow(id, "start");
    await Promise.all(range(1, 1500).map((number) => keeper.publish(id, { number, fill: "y".repeat(300) })));
    await until("a pause", () => reader.stats.deferred > 0 || reader.stats.commands > 1);
    const got: unknown[] = [];
    for await (const item of follow) {
      if (item.type === "event") got.push(item.data.number);
      if (got.length === 1500) break;
    }
    expect(got).toEqual(range(1, 1500));
    await keeper.leave(id);
  });

  test("gaps and positions are those of the socket", async () => {
    const id = await newSession();
    await keeper.publish(id, { number: 1 }, { ttl: 1 });
    await keeper.publish(id, { number: 2 });
    const [, short] = (await keeper.getHistory(id)).events;
    await until("its time is over", () => Date.now() > (short?.receivedAt ?? Infinity) + 5);
    const client = await connected();
    const items: Item[] = [];
    const follow = await client.follow(id, "start", (item) => items.push(item));
    await until("the last", () => numbersOf(items).includes(2));
    expect(items.find(({ type }) => type === "gap")).toMatchObject({ from: 2, to: 2, cause: "expired", history: true });
    const position = follow.position;
    follow.close();
    await keeper.publish(id, { number: 3 });
    const later: Item[] = [];
    await client.follow(id, position, (item) => later.push(item));
    await until("the later one", () => numbersOf(later).includes(3));
    expect(later[0]).toMatchObject({ type: "resumed", from: position });
    expect(numbersOf(later)).toEqual([3]);
    const other = await connected();
    const lost: Item[] = [];
    await other.follow(id, { epoch: "00000000000000aa", seq: 9 }, (item) => lost.push(item));
    await until("the word", () => lost.length > 0);
    expect(lost[0]).toMatchObject({ type: "notRecovered", reason: "unknown_epoch" });
  });

  test("when WebSockets get through again, they are used again, and nothing is missed or repeated", async () => {
    const client = await connected({ webSocketRetry: 200 });
    const id = await newSession();
    const items: Item[] = [];
    await client.follow(id, "start", (item) => items.push(item));
    let number = 0;
    const publish = async (): Promise<void> => {
      number += 1;
      expect(await client.publish(id, { number })).toMatchObject({ status: "stored" });
    };
    for (let count = 0; count < 20; count += 1) await publish();
    expect(client.transport).toBe("sse");
    proxy.upgrades = "pass";
    await until("a WebSocket", async () => {
      await publish();
      return client.transport === "websocket" && client.state === "connected";
    });
    for (let count = 0; count < 20; count += 1) await publish();
    proxy.upgrades = "cut";
    proxy.cut();
    await until("around it again", async () => {
      await publish();
      return client.transport === "sse";
    });
    await until("the last", () => numbersOf(items).includes(number));
    expect(numbersOf(items)).toEqual(range(1, number));
    expect(told.flatMap((event) => (event.type === "transport" ? [event.transport] : []))).toEqual(["sse", "websocket", "sse"]);
  });

  test("a durable outbox left by a client on a socket is sent over HTTP, once", async () => {
    const directory = mkdtempSync(join(tmpdir(), "agentbench-outbox-"));
    folders.push(directory);
    const id = await newSession();
    proxy.upgrades = "pass";
    const first = await connected({ outbox: fileOutbox({ directory }) });
    await Promise.all(range(1, 50).map((number) => first.publish(id, { number })));
    await server.down("SIGKILL");
    for (const number of range(51, 80)) await first.enqueue(id, { number });
    await first.close();
    proxy.upgrades = "cut";
    await server.up();
    const second = await open(options({ outbox: fileOutbox({ directory }) }));
    clients.push(second);
    await second.flush();
    expect(second.transport).toBe("sse");
    expect(await numbers(id)).toEqual(range(1, 80));
  });

  test("a server that is away is not taken for a proxy", async () => {
    const client = await connected();
    expect(client.transport).toBe("sse");
    await server.down("SIGTERM");
    await expect(connect(options())).rejects.toMatchObject({ kind: "connect" });
    expect(told.at(-1)).not.toMatchObject({ type: "transport" });
    await server.up();
    await expect(new Api(proxy.url, null, "p").check()).rejects.toMatchObject({ status: 401 });
  });
});
