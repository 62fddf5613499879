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
  /** Whether events are refused that would be stored with warnings. */
  strict?: boolean | undefined;
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
  /** Ends it without waiting for the other end. The package `ws` and Bun have it. */
  terminate?(): void;
}

/** A class of WebSockets as in browsers: the global one, or that of the package `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

/** How long the server may take to answer a close, ms: until then a process stays. */
export const LINGER = 1000;

/** The code of a close frame; `null` for those that stand for the lack of one (RFC 6455 §7.4.1, and Deno's 0). */
export function codeOf(code: number): number | null {
  return code < 1000 || [1005, 1006, 1015].includes(code) ? null : code;
}

/** The address to connect to. The producer's name is part of it, since a header cannot carry every character; so is `strict`. */
export function addressOf({ url, producerId, strict }: TransportRequest): string {
  const address = new URL(url);
  address.searchParams.set("producerId", producerId);
  if (strict) address.searchParams.set("strict", "1");
  // A WebSocket refuses an address with one.
  address.hash = "";
  return address.href;
}

/**
 * WebSockets. A page can set no headers: the token goes as a subprotocol, which unlike a query is in no log, and the
 * producer's name as a query.
 */
export function webSocketTransport(WebSocket: WebSocketClass): Transport {
  return (request, events) => {
    const { subprotocol, token } = request;
    const socket = new WebSocket(addressOf(request), token === null ? [subprotocol] : [subprotocol, `bearer.${token}`]);
    const mute = (): void => {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => undefined;
    };
    const over = (code: number, reason = ""): void => {
      mute();
      events.closed(codeOf(code), reason);
    };
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      // From here on a close event follows each error. Before, Node 22 tells of the error only.
      socket.onerror = () => undefined;
      events.opened(socket.protocol);
    };
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => events.received(typeof data === "string" ? data : new Uint8Array(data));
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => over(code, reason);
    socket.onerror = ({ message }: { message?: string }) => over(0, message);
    return {
      send: (frame) => socket.send(frame),
      close: (code) => {
        mute();
        const timer = setTimeout(() => socket.terminate?.(), LINGER);
        socket.onclose = () => clearTimeout(timer);
        socket.close(code);
      },
      get buffered() {
        return socket.bufferedAmount;
      },
    };
  };
}
