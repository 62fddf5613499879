/** Reads messages from the server defensively: whatever a field holds, what comes out has the type that it says. */
import type { Delivered, GapItem, Sender } from "../item.js";
import type { ErrorData, GapCause, Joined, Position, Reconnect } from "../protocol.js";
import type { Farewell } from "./state.js";

/** An object whose fields may hold anything. */
export type Fields = Record<string, unknown>;

/** One message. */
export interface Incoming {
  type: string;
  sessionId: string | null;
  data: Fields;
  /** Its place in a log, if it has one. */
  seq: number | null;
  isReplay: boolean;
  whole: Fields;
}

/** The messages of a frame, which holds one or an array of them. Throws if they are not objects. */
export function readMessages(frame: unknown): Incoming[] {
  return (Array.isArray(frame) ? (frame as unknown[]) : [frame]).map((whole) => {
    if (!isObject(whole)) throw new Error("not a message");
    return {
      type: text(whole.type) ?? "",
      sessionId: text(whole.sessionId),
      data: isObject(whole.data) ? whole.data : {},
      seq: count(whole.seq),
      isReplay: whole.replay === true,
      whole,
    };
  });
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text, or nothing. */
export function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** A number of ms, bytes and the like, or nothing. */
export function amount(value: unknown): number | null {
  return typeof value === "number" && value >= 0 ? value : null;
}

/** A whole number that can be counted with, or nothing. */
function count(value: unknown): number | null {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null;
}

/** The entry of a log that a message is. */
export function delivered(message: Incoming, sessionId: string, seq: number): Delivered {
  const { whole, data } = message;
  const entry: Delivered = {
    sessionId,
    seq,
    id: text(whole.id) ?? "",
    timestamp: amount(whole.timestamp) ?? 0,
    receivedAt: amount(whole.receivedAt) ?? 0,
    data,
  };
  if (isObject(whole.metadata)) entry.metadata = whole.metadata;
  if (isObject(whole.sender)) entry.sender = whole.sender as unknown as Sender;
  return entry;
}

/** Id and seq of every event that an ack in either form is for. */
export function ackedIn(data: Fields): [string, number][] {
  // Anything behind a pair is a later version's.
  const pairs: unknown[] = [[data.originalMessageId, data.seq], ...(Array.isArray(data.acks) ? (data.acks as unknown[]) : [])];
  return pairs.filter((pair): pair is [string, number] => Array.isArray(pair) && typeof pair[0] === "string" && count(pair[1]) !== null);
}

export function readGap(data: Fields): GapItem | null {
  const [from, to] = [count(data.fromSeq), count(data.toSeq)];
  if (from === null || to === null) return null;
  return { type: "gap", from, to, cause: (text(data.cause) ?? "overflow") as GapCause, history: data.history === true };
}

const RECONNECT: readonly string[] = ["now", "after", "refresh_token", "never"] satisfies Reconnect[];

export function readFarewell(data: Fields): Farewell | null {
  const reconnect = text(data.reconnect);
  if (reconnect === null || !RECONNECT.includes(reconnect)) return null;
  return {
    code: count(data.code) ?? 1000,
    detail: text(data.detail) ?? "",
    reconnect: reconnect as Reconnect,
    after: amount(data.afterMs) ?? 0,
  };
}

export function readError(data: Fields): ErrorData | null {
  const [code, error] = [text(data.code), text(data.error)];
  if (code === null || error === null || typeof data.retryable !== "boolean") return null;
  return data as unknown as ErrorData;
}

function isPosition(value: unknown): value is Position & Fields {
  return isObject(value) && typeof value.epoch === "string" && count(value.seq) !== null;
}

/** The answer to a join, if it is one. */
export function readJoined(data: Fields): Joined | null {
  const isOne = data.type === "session_joined" && isPosition(data.from) && count(data.headSeq) !== null && typeof data.recovered === "boolean";
  return isOne ? (data as unknown as Joined) : null;
}
