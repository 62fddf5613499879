/**
 * WebSockets, and the way around them: where a socket fails although it never carried a frame, HTTP is looked at, and taken
 * if it answers. All that belongs to it is loaded only then.
 */
import type { ConnectOptions } from "./config.js";
import { ClientError } from "./outcome.js";
import { type Transport, type TransportEvents, type TransportLink, type WebSocketClass, webSocketTransport } from "./transport.js";

/** Failures in a row after which a client whose sockets have worked before looks at HTTP: a restart is no block. */
const DOUBT_AFTER = 3;
/** Answers to an upgrade that are the server's own and not those of something in between. */
const OWN_STATUSES = [401, 429, 503];

/** What the way around needs. */
export interface FallbackParts {
  /** Makes WebSockets. */
  sockets: Transport;
  /** WebSockets are not to be tried at all. */
  isForced: boolean;
  /** Time after which blocked WebSockets are tried again, ms. */
  retryAfter: number;
  /** The transport in use has changed. */
  switched: (transport: "websocket" | "sse", detail: string) => void;
}

function socketsOf(options: ConnectOptions): Transport {
  if (options.sockets) return options.sockets;
  const found = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
  if (found) return webSocketTransport(found);
  throw new ClientError("invalid", "there is no WebSocket here: import from @agentbench/client/node, or give the option WebSocket");
}

/** What carries the messages of a client with these options. Throws `invalid` if there is nothing that could. */
export function transportOf(options: ConnectOptions, switched: FallbackParts["switched"]): Transport {
  const { transport = "auto", webSocketRetry = 300_000 } = options;
  if (typeof transport === "function") return transport;
  const isForced = transport === "sse";
  const sockets = isForced ? neverSockets : socketsOf(options);
  return transport === "websocket" ? sockets : autoTransport({ sockets, isForced, retryAfter: webSocketRetry, switched });
}

const neverSockets: Transport = () => {
  throw new ClientError("invalid", "WebSockets were not asked for");
};

/** Makes WebSockets as long as they work, and links over HTTP where they do not. */
function autoTransport(parts: FallbackParts): Transport {
  let fallback: Transport | null = null;
  let failures = 0;
  let hasWorked = false;
  return (request, events) => {
    let link: TransportLink | null = null;
    let isOver = false;
    let isReached = false;
    /** Hands the attempt over, or lets it fail as it has. */
    const goOn = (giveUp: () => void): void => {
      link = null;
      failures += 1;
      if (!parts.isForced && hasWorked && failures < DOUBT_AFTER) return giveUp();
      import("./fallback/transport.js").then((found) => {
        fallback ??= found.fallbackTransport(parts);
        if (!isOver) link = fallback(request, events);
      }).catch(() => {
        // Where there is no dynamic import, as in service workers, there are only WebSockets.
        if (!isOver) giveUp();
      });
    };
    const watched: TransportEvents = {
      ...events,
      received: (frame) => {
        isReached = hasWorked = true;
        failures = 0;
        events.received(frame);
      },
      refused: (status, after, body) => {
        const tell = (): void => events.refused(status, after, body);
        if (OWN_STATUSES.includes(status)) tell();
        else goOn(tell);
      },
      closed: (code, reason) => {
        const tell = (): void => events.closed(code, reason);
        if (isReached || code !== null) tell();
        else goOn(tell);
      },
    };
    if (fallback) link = fallback(request, events);
    else if (parts.isForced) goOn(() => events.closed(null, "the transport over HTTP cannot be loaded"));
    else link = parts.sockets(request, watched);
    return {
      send: (frame) => link?.send(frame),
      close: (code) => {
        isOver = true;
        // An attempt that was given up, since nothing came, has failed as well.
        if (link && !isReached && !fallback) failures = DOUBT_AFTER;
        link?.close(code);
      },
      get buffered() {
        return link?.buffered ?? 0;
      },
    };
  };
}
