/** What a client can be told before it connects. Every limit has a name, a reason and a default here. */
import { type Codec, jsonCodec } from "./codec.js";
import { checkToken } from "./driver.js";
import { isVisible } from "./event.js";
import type { ConnectionEvent } from "./machine/outputs.js";
import { type Backoff, LONGEST_TIMER, type OutboxPolicy, type Settings } from "./machine/settings.js";
import { ClientError, type Outcome } from "./outcome.js";
import { random } from "./random.js";
import type { OutboxStore } from "./store/store.js";
import type { Transport, WebSocketClass } from "./transport.js";

/** Something that has happened to a client. */
export type ClientEvent =
  | ConnectionEvent
  /** What became of an event that an earlier client of the durable outbox had left. */
  | { type: "recovered"; sessionId: string; id: string; outcome: Outcome }
  /** Messages go over HTTP from here on, since WebSockets do not get through; or over a WebSocket again. */
  | { type: "transport"; transport: "websocket" | "sse"; detail: string };

/**
 * How to connect and behave. Only `url`, and a token in one of its two ways, are needed. All times in ms, at most 2³¹ − 1 (24.8 days);
 * numbers that make no sense are refused as `invalid`.
 */
export interface ConnectOptions {
  /** `ws://host[:port][/path]`, or `wss://`. */
  url: string;
  /** The token to begin with. */
  token?: string;
  /**
   * Asked for a token when there is none, when the server refuses the one it got or says that it has expired, and shortly
   * before it expires.
   */
  tokenProvider?: () => string | Promise<string>;
  /**
   * Name of this producer: one that keeps it over restarts can send an event again, with the same id, and have it stored
   * once. Random by default; a durable outbox remembers its own. At most 128 visible characters.
   */
  producerId?: string;
  /**
   * Has the server refuse events with fields that readers will not understand (`invalid_message` with the `field`), by `strict=1` in
   * the address. By default they are stored, and their outcome has `warnings`.
   */
  strict?: boolean;
  /** Keeps events that are not acked over reloads and crashes: `indexedDbOutbox()`, `fileOutbox()` or one of your own. */
  outbox?: OutboxStore;
  /** How messages are written. `"json"` by default; `"msgpack"` needs the package `@msgpack/msgpack`. */
  format?: "json" | "msgpack";
  /** Told all that happens to the client, from the first attempt on. */
  onEvent?: (event: ClientEvent) => void;
  /** The class of WebSockets; the global one by default. Node 20 has none: use `@agentbench/client/node`. */
  WebSocket?: WebSocketClass;
  /**
   * What carries messages: `"auto"` (the default) goes around WebSockets that do not get through by streams and requests over
   * HTTP, `"websocket"` and `"sse"` use one of them only. Or something of your own.
   */
  transport?: "auto" | "websocket" | "sse" | Transport;
  /** With `"auto"`: time after which WebSockets that did not get through are tried again, 100 at least. 5 minutes by default. */
  webSocketRetry?: number;
  /** @internal Makes WebSockets, in place of the class. */
  sockets?: Transport;
  /**
   * For the service worker of an extension: heartbeats at least every 20 s. Chrome (116 and later) lets a worker live as
   * long as a WebSocket of it has sent or received something within the last 30 s.
   */
  keepWorkerAlive?: boolean;
  /** For one attempt: from the start to the server's first message. 10 s by default. */
  connectTimeout?: number;
  /** How long `connect` goes on trying. 0, the default: the first attempt that fails is the last; `Infinity`: without end. */
  connectPatience?: number;
  /** How long a command waits for its reply, over reconnects and retries. 30 s by default. */
  commandTimeout?: number;
  /**
   * How long a publish waits for its ack, over reconnects and retries, before its outcome is `unknown`; `null` for ever.
   * 60 s by default, and for ever with a durable outbox.
   */
  ackTimeout?: number | null;
  /** How often an event is sent again after retryable refusals. No limit but `ackTimeout` by default (`null`). */
  publishRetries?: number | null;
  /** Most events that wait for an ack, all sessions together. 10,000 by default. */
  outboxMessages?: number;
  /** Most bytes of their content. 64 MiB by default. One event larger than that is taken when the outbox is empty. */
  outboxBytes?: number;
  /** What a publish does when the outbox is full. Waits by default. */
  outboxPolicy?: OutboxPolicy;
  /**
   * Most events of one session that are sent and not yet acked, 1024 by default. With 1, not even a server that refuses one
   * event and takes the next can change their order.
   */
  inFlight?: number;
  /** Waits between attempts, to connect and to publish: by default base 100 ms, max 10 s, any number of attempts. */
  backoff?: Partial<Backoff>;
  /** Time between the client's heartbeats, which measure the latency; `null` sends none. 15 s by default. */
  heartbeatInterval?: number | null;
  /**
   * Silence of the server after which the connection counts as dead. By default 2.5 times the longer of the client's and
   * the server's heartbeat interval, and never without heartbeats.
   */
  silenceTimeout?: number;
  /** How long `close` waits for what is in the outbox. 5 s by default. */
  closeTimeout?: number;
  /**
   * Items that a follow holds for its reader. When it is full, the server is asked to stop, and the follow goes on from
   * its place when half of it is read. 1024 by default.
   */
  followBuffer?: number;
}

/** What a worker's heartbeats may be apart at most, ms; Chrome ends a worker after 30 s without activity. */
const WORKER_HEARTBEAT = 20_000;

async function codecOf(format: ConnectOptions["format"]): Promise<Codec> {
  if (format !== "msgpack") return jsonCodec;
  // Inside of `try`: bundlers then do without the package where it is not installed.
  try {
    return await (await import("./msgpack.js")).loadMsgpack();
  } catch (cause) {
    throw new ClientError("invalid", 'format "msgpack" needs a package: npm install @msgpack/msgpack', { cause });
  }
}

/** The options that are times, and those that may be without end: each with the least that makes sense; `null` for those that may be it. */
const TIMES: Limits = [
  ["connectTimeout", 1], ["commandTimeout", 1], ["ackTimeout", 1, null], ["heartbeatInterval", 1, null], ["silenceTimeout", 1],
  ["closeTimeout", 0], ["webSocketRetry", 100], ["base", 0], ["max", 0],
];
const COUNTS: Limits = [["connectPatience", 0], ["publishRetries", 0, null], ["outboxMessages", 1], ["outboxBytes", 1], ["inFlight", 1], ["followBuffer", 1], ["attempts", 1, null]];

type Limits = [name: string, least: number, otherwise?: null][];

function checkNumbers(given: Record<string, unknown>, limits: Limits, most: number): void {
  for (const [name, least, otherwise] of limits) {
    const value = given[name];
    if (value === undefined || value === otherwise || (typeof value === "number" && value >= least && value <= most)) continue;
    throw new ClientError("invalid", `${name} must be a number from ${least} to ${most}`);
  }
}

function isAddress(url: string): boolean {
  try {
    return /^wss?:$/.test(new URL(url).protocol);
  } catch {
    return false;
  }
}

/** Refuses options that make no sense. */
export function checkOptions(options: ConnectOptions): void {
  if (!isAddress(options.url)) throw new ClientError("invalid", `"${options.url}" is no ws:// or wss:// address`);
  const numbers = { ...options, ...options.backoff };
  checkNumbers(numbers, TIMES, LONGEST_TIMER);
  checkNumbers(numbers, COUNTS, Infinity);
  if (options.token !== undefined) checkToken(options.token);
  if (options.producerId !== undefined && !isVisible(options.producerId)) {
    throw new ClientError("invalid", "the producer id must have 1 to 128 visible characters");
  }
}

/** The part of the options that the machine needs. */
export async function settingsOf(options: ConnectOptions): Promise<Settings> {
  const { outbox, format, tokenProvider, heartbeatInterval = 15_000, keepWorkerAlive } = options;
  if (keepWorkerAlive && heartbeatInterval === null) throw new ClientError("invalid", "keepWorkerAlive needs heartbeats: leave heartbeatInterval out");
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<Settings>;
  return {
    token: null,
    connectTimeout: 10_000,
    commandTimeout: 30_000,
    ackTimeout: outbox ? null : 60_000,
    publishRetries: null,
    outboxMessages: 10_000,
    outboxBytes: 64 * 1024 * 1024,
    outboxPolicy: "wait",
    silenceTimeout: null,
    ...given,
    inFlight: given.inFlight ?? 1024,
    backoff: { base: 100, max: 10_000, attempts: null, ...given.backoff },
    heartbeatInterval: keepWorkerAlive ? Math.min(heartbeatInterval ?? Infinity, WORKER_HEARTBEAT) : heartbeatInterval,
    codec: await codecOf(format),
    hasTokenProvider: tokenProvider !== undefined,
    isFencedElsewhere: outbox !== undefined,
    random,
  };
}
