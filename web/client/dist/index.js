/**
 * TypeScript SDK of AgentBench realtime: publish the events of agents under test, follow sessions live, and come back
 * after any interruption without losing, repeating or reordering anything.
 *
 * ```ts
 * import { connect } from "@agentbench/client";
 *
 * const client = await connect({ url: "ws://127.0.0.1:3001", token });
 * const session = await client.create({ projectId: "shop", testId: "login", agentName: "my-agent" });
 * await session.start();
 * await session.follow("start", (item) => console.log(item));
 * const outcome = await session.publish({ eventType: "progress", percent: 50 });
 * if (outcome.status === "stored") console.log(`event ${outcome.seq} is safe`);
 * await client.close();
 * ```
 *
 * - `connect`, `open`, `Client`, `Session`, `Follow`: the API.
 * - `ConnectOptions`: every setting with its default.
 * - `Outcome`, `ClientError`, `Ended`: how things end. `Item` and its parts: what is followed.
 * - `indexedDbOutbox`: events survive reloads, crashes and the end of a worker.
 *
 * @packageDocumentation
 */
export { Client } from "./client.js";
export { Commands } from "./commands.js";
export { connect, open } from "./connect.js";
export { Follow } from "./follow.js";
export { ClientError, describeEnd } from "./outcome.js";
export { Session } from "./session.js";
export { indexedDbOutbox } from "./store/indexeddb.js";
export { webSocketTransport, } from "./transport.js";
//# sourceMappingURL=index.js.map