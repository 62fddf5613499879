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
export type { ClientEvent, ConnectOptions } from "./config.js";
export { connect, open } from "./connect.js";
export type { Priority, PublishOptions } from "./event.js";
export { Follow, type FollowHost, type FollowOptions } from "./follow.js";
export type {
  Delivered, Disconnected, DisconnectedItem, EventItem, GapItem, Item, LateItem, LifecycleItem, Metadata, NotRecoveredItem, PresenceItem,
  ResumedItem, Sender, ViolationItem,
} from "./item.js";
export type { StartAt } from "./machine/follow.js";
export type { ConnectionEvent, Stats, Usage } from "./machine/outputs.js";
export type { Backoff, OutboxPolicy } from "./machine/settings.js";
export { ClientError, type Ended, type ErrorKind, type GaveUp, type Outcome, type Refused, type Stored, type Unknown, describeEnd } from "./outcome.js";
export type * from "./protocol.js";
export type { Replay, ReplayItem, ReplayOptions } from "./replay.js";
export type { Reply } from "./replies.js";
export { Session } from "./session.js";
export { type IndexedDbOptions, indexedDbOutbox } from "./store/indexeddb.js";
export type { ClientState, ClientTransport, Ticket } from "./ticket.js";
export type { OpenedStore, OutboxStore, StoredEvent } from "./store/store.js";
export {
  type Transport, type TransportEvents, type TransportLink, type TransportRequest, type WebSocketClass, type WebSocketLike, webSocketTransport,
} from "./transport.js";
