/**
 * WebSockets, and the way around them: where a socket fails although it never carried a frame, HTTP is looked at, and taken
 * if it answers. All that belongs to it is loaded only then.
 */
import type { Codec } from "./codec.js";
import type { ConnectOptions } from "./config.js";
import { ClientError } from "./outcome.js";
import { type Transport, type TransportLink, type WebSocketClass, webSocketTransport } from "./transport.js";

/** Failures in a row after which a client whose sockets have worked before looks at HTTP: a restart is no block. */
const DOUBT_AFTER = 3;
/** Answers to an upgrade that are the server's own and not those of something in between. */
const OWN_STATUSES = [401, 429, 503];

/** What the way around needs. */
export interface FallbackParts {
  /** How messages are written. */
  codec: Codec;
  /** Makes WebSockets; `null` if they are not to be tried at all. */
  sockets: Transport | null;
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
export function transportOf(options: ConnectOptions, codec: Codec, switched: FallbackParts["switched"]): Transport {
  const { transport = "auto", webSocketRetry = 300_000 } = options;
  if (typeof transport === "function") return transport;
  const sockets = transport === "sse" ? null : socketsOf(options);
  return sockets && transport === "websocket" ? sockets : autoTransport({ codec, sockets, retryAfter: webSocketRetry, switched });
}

/** Makes WebSockets as long as they work, and links over HTTP where they do not. */
function autoTransport(parts: FallbackParts): Transport {
  let fallback: Transport | null = null;
  let failures = 0;
  let hasWorked = false;
  return (request, events) => {
    let link: TransportLink | null = null;
    let isOver = false;
    let isReached = false;
    /** Hands the attempt over, unless the server itself has ended it, or lets it fail as it has. */
    const goOn = (isOwn: boolean, giveUp: () => void): void => {
      link = null;
      if (isOwn || ((failures += 1) < DOUBT_AFTER && hasWorked)) return giveUp();
      import("./fallback/transport.js").then((found) => {
        fallback ??= found.fallbackTransport(parts);
        if (!isOver) link = fallback(request, events);
      }).catch(() => {
        // Where there is no dynamic import, as in service workers, there are only WebSockets.
        if (!isOver) giveUp();
      });
    };
    if (fallback) link = fallback(request, events);
    else if (parts.sockets) {
      link = parts.sockets(request, {
        ...events,
        received: (frame) => {
          isReached = hasWorked = true;
          failures = 0;
          events.received(frame);
        },
        refused: (status, after, body) => goOn(OWN_STATUSES.includes(status), () => events.refused(status, after, body)),
        closed: (code, reason) => goOn(isReached || code !== null, () => events.closed(code, reason)),
      });
    } else goOn(false, () => events.closed(null, "the transport over HTTP cannot be loaded"));
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
