/** Reads messages from the server defensively: whatever a field holds, what comes out has the type that it says. */
import type { Delivered, GapItem, Sender } from "../item.js";
import type { ErrorData, GapCause, Joined, Position } from "../protocol.js";
import type { Farewell } from "./state.js";

/** An object whose fields may hold anything. */
export type Fields = Record<string, unknown>;

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text; an empty one if it is none. */
export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** A number of ms, bytes and the like, or the one that stands for it. */
export function amount(value: unknown, otherwise: number): number {
  return typeof value === "number" && value >= 0 ? value : otherwise;
}

/** A seq, which is a whole number; -1 if it is none. */
export function seqOf(value: unknown): number {
  return amount(Number.isInteger(value) && value, -1);
}

/** The entry of a log that a message is. */
export function delivered(message: Fields, data: Fields): Delivered {
  const { metadata, sender } = message;
  return {
    sessionId: text(message.sessionId),
    seq: seqOf(message.seq),
    id: text(message.id),
    timestamp: amount(message.timestamp, 0),
    receivedAt: amount(message.receivedAt, 0),
    data,
    ...(isObject(metadata) && { metadata }),
    ...(isObject(sender) && { sender: sender as unknown as Sender }),
  };
}

/** Id and seq of every event that an ack in either form is for. */
export function ackedIn(data: Fields): [string, number][] {
  // Anything behind a pair is a later version's.
  const pairs: unknown[] = [[[data.originalMessageId, data.seq]], data.acks].flat();
  return pairs.filter((pair): pair is [string, number] => Array.isArray(pair) && seqOf(pair[1]) >= 0);
}

/** A gap, if it is one: of one that ends before it begins, nobody knows what is missing. */
export function readGap(data: Fields): GapItem | null {
  const [from, to] = [seqOf(data.fromSeq), seqOf(data.toSeq)];
  return from > to || from < 0 ? null : { type: "gap", from, to, cause: (text(data.cause) || "overflow") as GapCause, history: data.history === true };
}

export function readFarewell({ code, detail, reconnect, afterMs }: Fields): Farewell {
  return { code: amount(code, 1000), detail: text(detail), reconnect: text(reconnect), after: amount(afterMs, 0) };
}

export function readError(data: Fields): ErrorData | null {
  return text(data.code) && text(data.error) && typeof data.retryable === "boolean" ? (data as unknown as ErrorData) : null;
}

function isPosition(value: unknown): value is Position & Fields {
  return isObject(value) && typeof value.epoch === "string" && seqOf(value.seq) >= 0;
}

/** The answer to a join, if it is one. */
export function readJoined(data: Fields): Joined | null {
  const isOne = data.type === "session_joined" && isPosition(data.from) && seqOf(data.headSeq) >= 0 && typeof data.recovered === "boolean";
  return isOne ? (data as unknown as Joined) : null;
}
