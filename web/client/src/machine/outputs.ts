/** What the machine asks of its driver and tells its user. */
import type { Disconnected, Item } from "../item.js";
import type { ClientError, Ended, Outcome } from "../outcome.js";
import type { ErrorData, SystemMessage } from "../protocol.js";

/** What a machine asks of its driver. None of it is done at once: the machine lists it, and the driver calls what is listed. */
export interface Host {
  /** Connect with this token; answer with `opened`, `turnedAway`, `closed` or `unreachable`. */
  connect(token: string | null): unknown;
  /** Close the socket with this code, or give up the attempt to connect. No answer. */
  disconnect(code: number): void;
  /** Ask the token provider; answer with `token`. */
  fetchToken(): unknown;
  /** Tell the user. */
  tell(event: ConnectionEvent): void;
}

/** Hears the answer to a command, a join or a follow: the reply, or why it was not carried out, or that nobody knows. */
export type Answered = (answer: SystemMessage | ClientError) => void;

/** Hears what became of a publish. */
export type Settled = (outcome: Outcome) => void;

/** Takes what a follow or a replay gives. */
export interface Reader {
  /** The next item. */
  push(item: Item): void;
  /** It is over: at a replay's end (`null`), or since it failed. */
  end(error: ClientError | null): void;
}

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
