/** Warnings of the real server about fields that readers will not understand, and clients that have such events refused. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Client, type ConnectOptions, type Outcome, connect } from "../src/node.js";
import { RealServer } from "./support/real-server.js";

let server: RealServer;
let clients: Client[] = [];

beforeAll(async () => {
  server = await RealServer.start();
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
});

afterAll(async () => {
  await server.remove();
});

async function connected(more: Partial<ConnectOptions>): Promise<Client> {
  const client = await connect({ url: server.url, token: server.token("--user", "ann"), ...more });
  clients.push(client);
  return client;
}

test.each(["websocket", "sse"] as const)("over a %s warnings are part of the outcome, and a strict client's event is refused", async (transport) => {
  const [client, strict] = [await connected({ transport }), await connected({ transport, strict: true })];
  const session = await client.create({ projectId: "shop", testId: "login", agentName: "agent" });
  await strict.join(session.id);
  const doubtful = { eventType: "score_update", score: "0.9", max: 0 };
  const publish = (by: Client, data: Record<string, unknown>, id: string): Promise<Outcome> => by.publish(session.id, data, { id });
  const outcomes = await Promise.all([publish(client, { number: 1 }, "e1"), publish(client, doubtful, "e2"), publish(client, { number: 3 }, "e3")]);
  const warnings = [{ field: "data.score", detail: "data.score must be a number" }, { field: "data.max", detail: "data.max must be a number above 0" }];
  const stored = { status: "stored", epoch: session.info.epoch, level: "logged", duplicate: false };
  expect(outcomes).toEqual([{ ...stored, seq: 2 }, { ...stored, seq: 3, warnings }, { ...stored, seq: 4 }]);
  expect(await publish(strict, doubtful, "e4")).toMatchObject({ status: "refused", refusal: { code: "invalid_message", field: "data.score" } });
  expect(await publish(strict, { ...doubtful, score: 0.9, max: 1 }, "e5")).toMatchObject({ status: "stored", seq: 5 });
  expect([client.stats.acked, strict.stats.acked, strict.stats.refused]).toEqual([3, 1, 1]);
});
