/** What becomes of a publish, a command and a client, said so that the caller knows what it may do now. */
import type { AckLevel, ErrorData, Warning } from "./protocol.js";

/** The log has the event. */
export interface Stored {
  status: "stored";
  /** Its place in the session's log. */
  seq: number;
  /** The life of the log that `seq` counts in. */
  epoch: string | null;
  /** What the ack vouches for. */
  level: AckLevel | null;
  /** The log had it already, from an earlier send. */
  duplicate: boolean;
  /** Fields that readers will not understand, if there are any. `strict` in the options has such events refused. */
  warnings?: Warning[];
}

/** The server refused the event: it is not in the log. */
export interface Refused {
  status: "refused";
  /** Why. */
  refusal: ErrorData;
}

/** The client gave up on the event. */
export interface Unknown {
  status: "unknown";
  /** Why. */
  why: GaveUp;
  /** Whether it was ever handed to a connection. If not, it is not in the log; else it may be. */
  sent: boolean;
}

/** What became of a publish. */
export type Outcome = Stored | Refused | Unknown;

/**
 * Why the client gave up on a publish.
 *
 * - `ackTimeout`: no ack within `ackTimeout`.
 * - `retries`: refused too often, and an earlier send was never answered.
 * - `refusedAgain`: refused, but an earlier send on another connection was never answered.
 * - `dropped`: it made room for a later one.
 * - `left`: the session was left before.
 * - `breaks`: the connection broke at it again and again, the last times when nothing else was on its way; `detail` says how.
 * - `ended`: the client has ended. With a durable outbox the event is kept, and sent by the next client of that outbox.
 */
export type GaveUp =
  | { kind: "ackTimeout" | "dropped" | "left" }
  | { kind: "retries" | "refusedAgain"; refusal: ErrorData }
  | { kind: "breaks"; detail: string }
  | { kind: "ended"; ended: Ended };

/**
 * Why a client has ended for good.
 *
 * - `closed`: the user closed it.
 * - `dismissed`: the server said not to come back.
 * - `http`: the server refused the upgrade in a way that will not change.
 * - `attempts`: the attempts allowed by the backoff are used up.
 * - `token`: a new token was needed and there was none.
 * - `fenced`: a newer client has taken over its durable outbox.
 * - `store`: its durable outbox is lost: the browser has cleared or closed the database.
 */
export type Ended =
  | { kind: "closed" }
  | { kind: "dismissed"; code: number | null; detail: string }
  | { kind: "http"; status: number; detail: string }
  | { kind: "attempts"; attempts: number; last: string }
  | { kind: "token" | "fenced" | "store"; detail: string };

/**
 * What kind of failure a {@link ClientError} is.
 *
 * - `refused`: the server refused it; `refusal` says why.
 * - `timedOut`: no reply in time; it may have been carried out.
 * - `ended`: the client has ended; what was sent before may have been carried out. `ended` says why.
 * - `fenced`: a newer client has taken over the durable outbox; this one is over.
 * - `connect`: the first attempt to connect failed.
 * - `outboxFull`: the outbox is full, and its policy is not to wait.
 * - `alreadyFollowing`: there is a follow of this session on this client already.
 * - `invalid`: what was asked for makes no sense.
 * - `unexpectedReply`: the server's reply is not one to this command.
 * - `store`: the durable outbox cannot be read or written; with `ended` it is lost for good.
 */
export type ErrorKind =
  | "refused"
  | "timedOut"
  | "ended"
  | "fenced"
  | "connect"
  | "outboxFull"
  | "alreadyFollowing"
  | "invalid"
  | "unexpectedReply"
  | "store";

/** Why something that was asked of a client was not done. */
export class ClientError extends Error {
  override readonly name = "ClientError";

  /** What kind of failure it is. */
  readonly kind: ErrorKind;

  /** The server's refusal, for `refused`. */
  readonly refusal?: ErrorData | undefined;

  /** Why the client has ended, for `ended`, `fenced` and a lost `store`. */
  readonly ended?: Ended | undefined;

  /** `more` holds what belongs to the kind, and the error beneath it. */
  constructor(kind: ErrorKind, message: string, more: { refusal?: ErrorData; ended?: Ended; cause?: unknown } = {}) {
    super(message, more);
    this.kind = kind;
    this.refusal = more.refusal;
    this.ended = more.ended;
  }

  /** Whether the same may succeed later without a change. */
  get retryable(): boolean {
    return this.refusal?.retryable ?? (!this.ended && ["timedOut", "outboxFull", "connect", "store"].includes(this.kind));
  }
}

/** The server refused it. */
export function refused(refusal: ErrorData): ClientError {
  return new ClientError("refused", `${refusal.code}: ${refusal.error}`, { refusal });
}

/** The client has ended. */
export function hasEnded(ended: Ended): ClientError {
  return new ClientError(ended.kind === "fenced" ? "fenced" : "ended", describeEnd(ended), { ended });
}

/** An end in words. */
export function describeEnd(ended: Ended): string {
  switch (ended.kind) {
    case "closed":
      return "the client was closed";
    case "dismissed":
      return `the server closed the connection for good (${ended.code ?? "no code"}): ${ended.detail}`;
    case "http":
      return `the server answered with HTTP status ${ended.status}: ${ended.detail}`;
    case "attempts":
      return `gave up after ${ended.attempts} attempts: ${ended.last}`;
    case "token":
      return `no new token: ${ended.detail}`;
    default:
      return ended.detail;
  }
}

/** What an error says, whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
