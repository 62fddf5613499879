/**
 * The WebSocket of the package `ws`, which can do more than a page's: the token goes in a header, pings are heard, and the
 * status of a refused upgrade is seen.
 */
import type { IncomingMessage } from "node:http";
import { type RawData, WebSocket } from "ws";
import type { Frame } from "./codec.js";
import { LINGER, type Transport, type TransportEvents, addressOf, codeOf } from "./transport.js";

/** Most bytes of a refused upgrade's body that are kept for the user. */
const MAX_BODY = 200;
/** Largest message that is taken, bytes. */
const MAX_MESSAGE = 64 * 1024 * 1024;

/** WebSockets of `ws`. */
export const wsTransport: Transport = (request, events) => {
  const { subprotocol, token } = request;
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const socket = new WebSocket(addressOf(request), [subprotocol], { headers, maxPayload: MAX_MESSAGE, perMessageDeflate: false });
  let detail = "";
  socket.on("open", () => events.opened(socket.protocol));
  socket.on("message", (data, isBinary) => events.received(frameOf(data, isBinary)));
  socket.on("ping", () => events.heard());
  socket.on("error", (error) => {
    detail = error.message;
  });
  socket.on("close", (code, reason) => events.closed(codeOf(code), reason.toString() || detail));
  socket.on("unexpected-response", (_request, response) => tellRefused(response, events));
  return {
    send: (frame) => socket.send(frame),
    close: (code) => {
      socket.removeAllListeners();
      // Giving up an attempt is an error to `ws`.
      socket.on("error", () => undefined);
      const timer = setTimeout(() => socket.terminate(), LINGER);
      socket.on("close", () => clearTimeout(timer));
      socket.close(code);
    },
    get buffered() {
      return socket.bufferedAmount;
    },
  };
};

function frameOf(data: RawData, isBinary: boolean): Frame {
  const bytes = Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data;
  return isBinary ? new Uint8Array(bytes) : bytes.toString();
}

function tellRefused(response: IncomingMessage, events: TransportEvents): void {
  let body = "";
  response.setEncoding("utf8");
  response.on("data", (part: string) => body = (body + part).slice(0, MAX_BODY));
  response.on("close", () => {
    const seconds = Number(response.headers["retry-after"]);
    events.refused(response.statusCode ?? 0, Number.isFinite(seconds) ? seconds * 1000 : null, body.trim());
  });
}
