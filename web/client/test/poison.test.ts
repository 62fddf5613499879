/** Events that something on the way does not let through: the others get there, and what became of these is said. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Frame, jsonCodec } from "../src/codec.js";
import { HttpLink } from "../src/fallback/link.js";
import { type Client, type ClientEvent, type ConnectOptions, type Outcome, fileOutbox, open } from "../src/node.js";
import { ApiServer, type Meddle } from "./support/api-server.js";
import { range } from "./support/pair.js";
import { until } from "./support/until.js";

let api: ApiServer;
let client: Client | undefined;
let told: ClientEvent[];

beforeEach(async () => {
  api = await ApiServer.start();
  told = [];
});

afterEach(async () => {
  await client?.close();
  api.stop();
});

async function opened(more: Partial<ConnectOptions> = {}): Promise<Client> {
  client = await open({
    url: api.url, token: "t.o.k", transport: "sse", backoff: { base: 1, max: 5000 }, heartbeatInterval: null, closeTimeout: 0, onEvent: (event) => told.push(event), ...more,
  });
  return client;
}

/** Publishes good events around a bad one, which is the second. */
async function publishAll(way: Client): Promise<Outcome[]> {
  return Promise.all(range(1, 4).map((number) => way.publish("s", { number, ...(number === 2 && { bad: true }) })));
}

const page = (status: number): { status: number; body: string } => ({ status, body: `<h1>${status}</h1>` });
const isBad: (events: { data: Record<string, unknown> }[]) => boolean = (events) => events.some(({ data }) => data.bad === true);
const refusal = (code: string, retryable = false): string => JSON.stringify({ type: "error", data: { error: "no", code, retryable } });

const ways: [string, Meddle, object][] = [
  ["a server that cannot read it", ({ events }) => (isBad(events) ? { status: 400, body: refusal("malformed_json") } : null), { status: "refused", refusal: { code: "malformed_json" } }],
  ["a server that takes no more bytes", ({ events }) => (isBad(events) ? { status: 413, body: refusal("payload_too_large") } : null), { status: "refused", refusal: { code: "payload_too_large" } }],
  ["a proxy that answers 413", ({ events }) => (isBad(events) ? page(413) : null), { status: "refused", refusal: { code: "payload_too_large", error: expect.stringContaining("HTTP status 413") as string } }],
  ["a proxy that answers 403", ({ events }) => (isBad(events) ? page(403) : null), { status: "unknown", sent: true, why: { kind: "breaks", detail: expect.stringContaining("HTTP status 403") as string } }],
  ["a proxy that answers 502", ({ events }) => (isBad(events) ? page(502) : null), { status: "unknown", sent: true, why: { kind: "breaks", detail: expect.stringContaining("HTTP status 502") as string } }],
  ["a proxy that cuts the connection", ({ events }) => (isBad(events) ? "cut" : null), { status: "unknown", sent: true, why: { kind: "breaks" } }],
];

describe.each(ways)("%s", (_, meddle, expected) => {
  test("settles the one event, and the others are stored in order", async () => {
    api.meddle = meddle;
    const outcomes = await publishAll(await opened());
    expect(outcomes.map(({ status }) => status).filter((status) => status === "stored")).toHaveLength(3);
    expect(outcomes[1]).toMatchObject(expected);
    expect(api.log.map(({ data }) => data.number)).toEqual([1, 3, 4]);
    // A bound by the rounds that are allowed, each with its look at the server and its join.
    expect(api.posts.length).toBeLessThan(20);
    expect(api.requests).toBeLessThan(60);
  });
});

test("a durable outbox of events of an earlier client goes one by one, and what is refused is dropped with its reason", async () => {
  const directory = mkdtempSync(join(tmpdir(), "agentbench-poison-"));
  const outbox = fileOutbox({ directory });
  const store = await outbox.open(null);
  await store.append(range(1, 4).map((number) => ({
    id: `e${number}`, sessionId: "s", timestamp: 1, metadata: "{}", data: JSON.stringify({ number, ...(number === 2 && { bad: true }) }),
  })));
  await store.close();
  api.meddle = ({ events }) => (isBad(events) ? { status: 400, body: refusal("malformed_json") } : null);
  const way = await opened({ outbox });
  await way.flush();
  const recovered = told.flatMap((event) => (event.type === "recovered" ? [[event.id, event.outcome.status]] : []));
  expect(recovered.sort()).toEqual([["e1", "stored"], ["e2", "refused"], ["e3", "stored"], ["e4", "stored"]]);
  expect(told.find((event) => event.type === "recovered" && event.id === "e2")).toMatchObject({ outcome: { refusal: { code: "malformed_json" } } });
  await way.close();
  const left = await outbox.open(null);
  expect(left.events).toEqual([]);
  await left.close();
  rmSync(directory, { recursive: true });
});

describe("a way that lets nothing be published", () => {
  test.each([403, 413, 502])("by %d is asked less and less often, and everything is settled with a reason", async (status) => {
    api.meddle = () => page(status);
    const way = await opened({ backoff: { base: 1, max: 1000 } });
    const outcomes = await Promise.all(range(1, 2).map((number) => way.publish("s", { number })));
    expect(outcomes.map((outcome) => outcome.status)).toEqual(Array(2).fill(status === 413 ? "refused" : "unknown"));
    const waits = told.flatMap((event) => (event.type === "reconnecting" ? [event.after] : []));
    // Eight rounds for each event that is not known to be refused; no round counts as progress, so the longest wait comes late.
    if (status === 413) expect(waits).toEqual([]);
    else {
      expect(waits.length).toBeGreaterThanOrEqual(16);
      expect(Math.max(...waits.slice(0, 5))).toBeLessThanOrEqual(16);
      expect(Math.max(...waits.slice(5))).toBeGreaterThan(16);
    }
    expect(api.log).toEqual([]);
  });
});

test("the producer's name goes in the address, in any script", async () => {
  const way = await opened({ producerId: "日本のテスト-größe" });
  expect(await way.publish("s", { number: 1 })).toMatchObject({ status: "stored" });
  const [post] = api.posts;
  expect(post?.url.searchParams.get("producerId")).toBe("日本のテスト-größe");
  expect(post?.headers).not.toHaveProperty("agentbench-producer");
});

describe("the token's life over HTTP", () => {
  const now = Date.now();
  const token = (iat: number | null, exp: number): string => `h.${btoa(JSON.stringify({ ...(iat !== null && { iat: Math.round(iat / 1000) }), exp: Math.round(exp / 1000) })).replace(/=+$/, "")}.s`;
  const HOUR = 3_600_000;

  /** The greeting of a link with this token. */
  async function greeting(given: string): Promise<{ timestamp: number; data: Record<string, unknown> }> {
    const frames: Frame[] = [];
    const ignored = (): void => undefined;
    const request = { url: api.url, token: given, subprotocol: jsonCodec.subprotocol, producerId: "p" };
    const link = new HttpLink(request, jsonCodec, { opened: ignored, heard: ignored, refused: ignored, closed: ignored, received: (frame) => frames.push(frame) });
    const first = await until("the greeting", () => frames[0]);
    link.close();
    return JSON.parse(first as string) as Awaited<ReturnType<typeof greeting>>;
  }

  /** What is left of the token's life, as the machine counts it (conformance/client/token.json). */
  async function left(given: string): Promise<number> {
    const { timestamp, data } = await greeting(given);
    return (data.tokenExpiresAt as number) - timestamp;
  }

  test.each([-7 * HOUR, -2 * HOUR, 0, 2 * HOUR, 7 * HOUR])("is counted by the server's clock, which differs by %d ms", async (ahead) => {
    api.clock = now + ahead;
    expect(Math.abs((await left(token(null, now + ahead + HOUR))) - HOUR)).toBeLessThan(2000);
    expect(Math.abs((await left(token(now + ahead - HOUR, now + ahead + HOUR))) - HOUR)).toBeLessThan(2000);
  });

  test.each([-7 * HOUR, 2 * HOUR])("is counted from when the token was made where the server's clock is not to be seen, and differs by %d ms", async (ahead) => {
    expect(await left(token(now + ahead, now + ahead + HOUR))).toBe(HOUR);
  });

  test("is not counted where nobody says when it began", async () => {
    expect((await greeting(token(null, now + HOUR))).timestamp).toBe(0);
  });

  test("and the greeting claims nothing that only the server knows", async () => {
    expect((await greeting("t.o.k")).data).not.toHaveProperty("ackLevel");
  });
});
