/**
 * Chooses between WebSockets and HTTP, attempt by attempt. Loaded when a WebSocket has failed for the first time.
 *
 * ```text
 *   WebSocket ──fails before a frame, HTTP answers──► again, up to SOCKET_TRIES ──► HTTP
 *       ▲                                                                           │
 *       └────────── a trial socket gets a frame, every `retryAfter` ────────────────┘
 * ```
 */
import type { FallbackParts } from "../auto.js";
import type { Transport, TransportEvents, TransportLink, TransportRequest } from "../transport.js";
import { Api, Refusal } from "./api.js";
import { HttpLink } from "./link.js";

/** Sockets that may fail while HTTP answers, after the one that led here. */
const SOCKET_TRIES = 2;
/** Longest wait between them, ms. */
const TRY_WAIT = 200;
/** How long a trial socket may take to its first frame, ms. */
const TRIAL_TIME = 10_000;
/** Answers to an upgrade that are the server's own. */
const OWN_STATUSES = [401, 429, 503];

/** See the module. */
export function fallbackTransport(parts: FallbackParts): Transport {
  /** Whether WebSockets do not get through, as far as is known. */
  let isBlocked = !parts.sockets;
  let failures = 0;
  const shared: Shared = {
    parts,
    sockets: parts.sockets ?? neverSockets,
    isBlocked: () => isBlocked,
    worked: () => {
      failures = 0;
      if (isBlocked) parts.switched("websocket", "WebSockets get through again");
      isBlocked = false;
    },
    failed: (detail) => {
      failures += 1;
      if (failures < SOCKET_TRIES) return;
      isBlocked = true;
      parts.switched("sse", `WebSockets do not get through: ${detail || "the connection was cut"}`);
    },
  };
  if (!parts.sockets) parts.switched("sse", "as asked for");
  return (request, events) => new Attempt(shared, request, events);
}

const neverSockets: Transport = () => {
  throw new Error("WebSockets were not asked for");
};

interface Shared {
  readonly parts: FallbackParts;
  readonly sockets: Transport;
  isBlocked(): boolean;
  worked(): void;
  failed(detail: string): void;
}

/** One link, over what gets through. */
class Attempt implements TransportLink {
  readonly #shared: Shared;
  readonly #request: TransportRequest;
  readonly #events: TransportEvents;
  #link: TransportLink | null = null;
  #trial: TransportLink | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(shared: Shared, request: TransportRequest, events: TransportEvents) {
    this.#shared = shared;
    this.#request = request;
    this.#events = events;
    this.#next();
  }

  get buffered(): number {
    return this.#link?.buffered ?? 0;
  }

  send(...[frame]: Parameters<TransportLink["send"]>): void {
    this.#link?.send(frame);
  }

  close(code: number): void {
    this.#stop();
    this.#link?.close(code);
  }

  /** Nothing more is told, and no trial goes on. */
  #stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#trial?.close(1000);
    this.#trial = null;
  }

  #next(): void {
    if (this.#isOver) return;
    if (this.#shared.isBlocked()) this.#overHttp();
    else this.#socket();
  }

  #socket(): void {
    const events = this.#events;
    let isReached = false;
    this.#link = this.#shared.sockets(this.#request, {
      ...events,
      received: (frame) => {
        if (!isReached) this.#shared.worked();
        isReached = true;
        events.received(frame);
      },
      refused: (status, after, body) => {
        const tell = (): void => events.refused(status, after, body);
        if (OWN_STATUSES.includes(status)) tell();
        else void this.#lost(tell, `HTTP status ${status}`);
      },
      closed: (code, reason) => {
        const tell = (): void => events.closed(code, reason);
        if (isReached || code !== null) tell();
        else void this.#lost(tell, reason);
      },
    });
  }

  /** A socket failed before it carried anything: the server is away, or something in between does not let it through. */
  async #lost(tell: () => void, detail: string): Promise<void> {
    this.#link = null;
    const isThere = await this.#answers();
    if (this.#isOver) return;
    if (!isThere) {
      tell();
      return;
    }
    this.#shared.failed(detail);
    this.#timer = setTimeout(() => {
      this.#next();
    }, Math.random() * TRY_WAIT);
  }

  async #answers(): Promise<boolean> {
    try {
      await new Api(this.#request.url, this.#request.token, this.#request.producerId).check();
      return true;
    } catch (error) {
      // What it says of the token is an answer; a server that takes no more is as good as away, and another address is another matter.
      return error instanceof Refusal && [401, 429].includes(error.status);
    }
  }

  #overHttp(): void {
    const { codec, sockets } = this.#shared.parts;
    this.#link = new HttpLink(this.#request, codec, {
      ...this.#events,
      closed: (code, reason) => {
        this.#stop();
        this.#events.closed(code, reason);
      },
      refused: (status, after, body) => {
        this.#stop();
        this.#events.refused(status, after, body);
      },
    });
    if (sockets) this.#tryLater();
  }

  #tryLater(): void {
    if (this.#isOver) return;
    // Not all at once, where many clients are behind the same proxy.
    this.#timer = setTimeout(() => {
      this.#try();
    }, this.#shared.parts.retryAfter * (0.9 + 0.2 * Math.random()));
  }

  /** Looks whether a WebSocket gets through now. It has a producer of its own, so that it replaces nobody. */
  #try(): void {
    const over = (): void => {
      clearTimeout(this.#timer);
      this.#trial = null;
      this.#tryLater();
    };
    this.#timer = setTimeout(() => {
      this.#trial?.close(1000);
      over();
    }, TRIAL_TIME);
    this.#trial = this.#shared.sockets({ ...this.#request, producerId: crypto.getRandomValues(new Uint32Array(4)).join("-") }, {
      opened: () => undefined,
      heard: () => undefined,
      received: () => {
        if (this.#isOver) return;
        this.#stop();
        this.#link?.close(1000);
        this.#shared.worked();
        this.#events.closed(null, "WebSockets get through again");
      },
      refused: over,
      closed: over,
    });
  }
}
