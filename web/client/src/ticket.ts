/** What a client gives out about itself and its events. */
import type { Outcome } from "./outcome.js";

/** An event in the outbox. */
export interface Ticket {
  /** Its id. */
  id: string;
  /** What becomes of it. Never rejects. */
  outcome: Promise<Outcome>;
}

/** Where a client stands. */
export type ClientState = "connecting" | "connected" | "ended";

/** What carries a client's messages: a WebSocket (or a transport of the user's), or streams and requests over HTTP. */
export type ClientTransport = "websocket" | "sse";
