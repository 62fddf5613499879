/** One entry of a log as the pages use it. Whatever a field of an event holds, what comes out of here has the type it says. */
import type { Delivered, Sender } from "@agentbench/client";
import type { LogMessage } from "../api/types.js";

/** What an entry is about, for filters and panels. */
export const KINDS = ["step", "progress", "evidence", "score", "note", "console", "network", "error", "lifecycle", "other"] as const;
export type Kind = (typeof KINDS)[number];

/** An object whose fields may hold anything. */
export type Fields = Readonly<Record<string, unknown>>;

/** One entry. */
export interface Entry {
  seq: number;
  id: string;
  kind: Kind;
  /** `data.eventType`, or `data.type` of a lifecycle entry. */
  name: string;
  /** When the server took it, ms since 1970; the sender's time where the server gave none. */
  at: number;
  /** The sender's clock, ms since 1970. */
  timestamp: number;
  data: Fields;
  sender: Sender | null;
  metadata: Fields | null;
  /** Whether it tells of something that went wrong. */
  isTrouble: boolean;
  /** What it takes of the page's memory, bytes, roughly. */
  weight: number;
}

/** Seqs that are not here, and why. */
export interface Gap {
  from: number;
  to: number;
  /** The protocol's cause, or `missing`: nobody said why. */
  cause: string;
  /** Whether the log still has them. */
  history: boolean;
}

const KIND_OF: Readonly<Record<string, Kind>> = {
  automation_step: "step",
  progress: "progress",
  evidence: "evidence",
  score_update: "score",
  review_score: "score",
  review_note: "note",
  console_log: "console",
  network_request: "network",
  error: "error",
};

/** A text, or nothing. */
export function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** A finite number, or nothing. */
export function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Any value as it is written in JSON; numbers that JSON does not have by their names. */
export function shown(value: unknown): string {
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}

function fields(value: unknown): Fields | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

function isTrouble(kind: Kind, data: Fields): boolean {
  switch (kind) {
    case "error":
      return true;
    case "step":
      return data.status === "failed";
    case "console":
      return data.level === "error";
    case "network":
      return (number(data.status) ?? 0) >= 400 || (text(data.error) ?? "") !== "";
    case "lifecycle":
      return data.status === "error";
    default:
      return false;
  }
}

function senderOf(value: unknown): Sender | null {
  const sender = fields(value);
  if (!sender) return null;
  const [clientId, userId] = [text(sender.clientId) ?? "", text(sender.userId) ?? ""];
  return { clientId, userId, username: text(sender.username) ?? userId, role: text(sender.role) ?? "" };
}

/** Bytes of an entry beside what it says, and of each value in it. */
const [OWN_WEIGHT, VALUE_WEIGHT] = [400, 16];

/** Bytes that values take in memory, roughly: texts are counted as browsers keep them at the most, two bytes a character. */
export function weigh(...values: unknown[]): number {
  let sum = OWN_WEIGHT;
  for (let value = values.pop(); value !== undefined; value = values.pop()) {
    sum += VALUE_WEIGHT;
    if (typeof value === "string") sum += value.length * 2;
    else if (Array.isArray(value)) for (const inner of value as unknown[]) values.push(inner);
    else if (typeof value === "object" && value !== null) {
      for (const [name, inner] of Object.entries(value)) {
        sum += name.length * 2;
        values.push(inner);
      }
    }
  }
  return sum;
}

interface Raw {
  seq: number;
  id?: unknown;
  timestamp?: unknown;
  receivedAt?: unknown;
  data?: unknown;
  sender?: unknown;
  metadata?: unknown;
}

function make(raw: Raw, isLifecycle: boolean): Entry {
  const data = fields(raw.data) ?? {};
  const name = text(isLifecycle ? data.type : data.eventType) ?? "";
  const kind = isLifecycle ? "lifecycle" : Object.hasOwn(KIND_OF, name) ? (KIND_OF[name] ?? "other") : "other";
  const timestamp = number(raw.timestamp) ?? 0;
  return {
    seq: raw.seq,
    id: text(raw.id) ?? "",
    kind,
    name,
    at: number(raw.receivedAt) ?? timestamp,
    timestamp,
    data,
    sender: senderOf(raw.sender),
    metadata: fields(raw.metadata),
    isTrouble: isTrouble(kind, data),
    weight: weigh(raw.metadata ?? null, data),
  };
}

/** The entry that the SDK delivered. */
export function fromItem(item: Delivered, isLifecycle: boolean): Entry {
  return make(item, isLifecycle);
}

/** The entry or the gap that a message of a log is; nothing if it is neither. */
export function fromMessage(message: LogMessage): Entry | Gap | null {
  const { seq, type } = message;
  if (Number.isSafeInteger(seq) && (seq ?? 0) > 0) return make({ ...message, seq: seq ?? 0 }, type === "system_message");
  const data = fields(message.data) ?? {};
  const [from, to] = [number(data.fromSeq), number(data.toSeq)];
  if (data.type !== "gap" || from === null || to === null || to < from) return null;
  return { from, to, cause: text(data.cause) ?? "missing", history: data.history === true };
}
