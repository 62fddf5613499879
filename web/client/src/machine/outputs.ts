/** What the machine asks of its driver and tells its user. */
import type { Disconnected, Item } from "../item.js";
import type { ClientError, Ended, Outcome } from "../outcome.js";
import type { ErrorData, SystemMessage } from "../protocol.js";

/** What the driver is to do. */
export type Action =
  /** Connect with this token; answer with `opened`, `refused`, `closed` or `unreachable`. */
  | { type: "connect"; token: string | null }
  /** Close the socket with this code, or give up the attempt to connect. No answer. */
  | { type: "disconnect"; code: number }
  /** Ask the token provider; answer with `token`. */
  | { type: "fetchToken" };

/** Something about the connection that a user may want to know. */
export type ConnectionEvent =
  /** Ready for use. */
  | { type: "connected"; clientId: string; node: string; attempt: number }
  /** Lost, or an attempt has failed. */
  | ({ type: "disconnected" } & Disconnected)
  /** The next attempt begins after this time, ms. */
  | { type: "reconnecting"; after: number }
  /** The server refused something that cannot be told whose it was. */
  | { type: "serverError"; refusal: ErrorData }
  /** The client has ended for good. */
  | { type: "ended"; ended: Ended };

/** What the user is to be told. */
export type Told =
  /** What became of a publish with an ack. */
  | { type: "published"; ticket: number; outcome: Outcome }
  /** The reply to a command, a join or a follow. */
  | { type: "reply"; key: number; reply: SystemMessage }
  /** A command, a join or a follow was not carried out, or nobody knows. */
  | { type: "failed"; key: number; error: ClientError }
  /** The next item of a follow. */
  | { type: "item"; follow: number; item: Item }
  /** A follow is over. */
  | { type: "followEnded"; follow: number; error: ClientError }
  /** A replay has come to its end. */
  | { type: "replayFinished"; replay: number }
  /** Something about the connection. */
  | { type: "connection"; event: ConnectionEvent };

/** Counters of one client, since it was made. */
export interface Stats {
  /** Attempts to connect. */
  attempts: number;
  /** Connections that came about after the first one. */
  reconnects: number;
  /** Events accepted into the outbox. */
  published: number;
  /** Events handed to a connection, each time. */
  sent: number;
  /** Of those, the ones that had been sent before. */
  retried: number;
  /** Frames handed to a connection. */
  frames: number;
  /** Acks for events in the outbox. */
  acked: number;
  /** Of those, the ones for events that the log had already. */
  duplicates: number;
  /** Events whose outcome is `refused`, and refusals of events without an ack. */
  refused: number;
  /** Events whose outcome is `unknown`. */
  unknown: number;
  /** Refusals after which an event was to be sent again. */
  heldBack: number;
  /** Commands handed to a connection, joins included. */
  commands: number;
  /** Entries of logs given to follows. */
  delivered: number;
  /** Entries dropped since the follow had them already. */
  repeats: number;
  /** Entries that came after later ones, against the order. */
  late: number;
  /** Entries dropped since nobody follows their session. */
  unexpected: number;
  /** Entries dropped since their follow was full; it gets them when its reader has caught up. */
  deferred: number;
  /** Holes in the order that nothing explained. */
  violations: number;
}

/** How full the outbox is, all sessions together. */
export interface Usage {
  /** Events. */
  messages: number;
  /** Bytes of their `data`. */
  bytes: number;
}
