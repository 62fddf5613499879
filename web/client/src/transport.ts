/** What carries frames between the driver and a server, and the one that every page, worker and Node has: a WebSocket. */
import type { Frame } from "./codec.js";

/** Where and as whom to connect. */
export interface TransportRequest {
  /** `ws://` or `wss://` address. */
  url: string;
  /** The form of the protocol that is asked for. */
  subprotocol: string;
  /** The token, if there is one. */
  token: string | null;
  /** Name of the producer. */
  producerId: string;
}

/** What a transport tells. After `closed`, `refused` or a `close` it tells nothing more. */
export interface TransportEvents {
  /** There is a link that speaks this subprotocol. */
  opened(subprotocol: string): void;
  /** A frame has arrived. */
  received(frame: Frame): void;
  /** The other end was heard in a way that is no frame. */
  heard(): void;
  /** The server answered with another HTTP status than 101. `retryAfter` in ms. Only where that can be seen. */
  refused(status: number, retryAfter: number | null, body: string): void;
  /** The link has ended, or did not come about. `code` is that of a close frame, `null` without one. */
  closed(code: number | null, reason: string): void;
}

/** One link, or an attempt at one. */
export interface TransportLink {
  /** Sends a frame. Only between `opened` and the end. */
  send(frame: Frame): void;
  /** Ends it, or gives up the attempt. */
  close(code: number): void;
  /** Bytes that were handed over and are not on their way yet. */
  readonly buffered: number;
}

/** Makes links. Throws if the request makes no sense to it. */
export type Transport = (request: TransportRequest, events: TransportEvents) => TransportLink;

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Frame): void;
  close(code?: number): void;
}

/** A class of WebSockets as in browsers: the global one, or that of the package `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

/** Codes that stand for the lack of a close frame's code (RFC 6455 §7.4.1). */
const NO_CODE = [1005, 1006, 1015];

/**
 * WebSockets. A page can set no headers: the token goes as a subprotocol, which unlike a query is in no log, and the
 * producer's name as a query.
 */
export function webSocketTransport(WebSocket: WebSocketClass): Transport {
  return ({ url, subprotocol, token, producerId }, events) => {
    const address = new URL(url);
    address.searchParams.set("producerId", producerId);
    const socket = new WebSocket(address.href, token === null ? [subprotocol] : [subprotocol, `bearer.${token}`]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => events.opened(socket.protocol);
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => events.received(typeof data === "string" ? data : new Uint8Array(data));
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => events.closed(NO_CODE.includes(code) ? null : code, reason);
    // The close event that follows says all there is to know.
    socket.onerror = () => undefined;
    return {
      send: (frame) => socket.send(frame),
      close: (code) => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(code);
      },
      get buffered() {
        return socket.bufferedAmount;
      },
    };
  };
}
