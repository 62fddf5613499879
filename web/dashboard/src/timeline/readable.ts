/** Which fields of an event cannot be read as what they are for. Such events are stored; the pages show the fields with a mark. */
import { own } from "../own.js";
import { cut } from "../text/format.js";
import { type Entry, type Fields, number, shown, text } from "./entry.js";

/** What a field has to hold. */
export type Expected = "number" | "percent" | "scale" | "text" | "flag" | "hash" | "picture";

/** Image types that are shown as images. Others could hold script or outside addresses. */
export const IMAGE_TYPES: readonly string[] = ["image/png", "image/jpeg", "image/webp", "image/gif"];
/** Longest image that an event may hold itself, characters. */
const LONGEST_INLINE = 8_000_000;

/** The type of a picture that an event holds itself; nothing if it is none that is shown. */
export function inlineType(url: string): string | null {
  if (url.length > LONGEST_INLINE) return null;
  const [head = "", body = ""] = url.split(",", 2);
  const type = /^data:([a-z]+\/[a-z]+);base64$/.exec(head)?.[1] ?? "";
  return IMAGE_TYPES.includes(type) && /^[A-Za-z0-9+/]*={0,2}$/.test(body) ? type : null;
}

/** Whether a text is the name of a piece of evidence. */
export function isHash(value: string): boolean {
  return /^[0-9a-f]{64}$/.test(value);
}

/** Whether a number is 0 to 100. */
export function isPercent(value: number): boolean {
  return value >= 0 && value <= 100;
}

const READS: Record<Expected, (value: unknown) => boolean> = {
  number: (value) => number(value) !== null,
  percent: (value) => isPercent(number(value) ?? -1),
  scale: (value) => (number(value) ?? 0) > 0,
  text: (value) => typeof value === "string",
  flag: (value) => typeof value === "boolean",
  hash: (value) => typeof value === "string" && isHash(value),
  picture: (value) => typeof value === "string" && inlineType(value) !== null,
};

const SCORE = { criterion: "text", score: "number", max: "scale", comment: "text" } as const;

/** Fields of the events of docs/events.md, and those that older publishers send. */
export const FIELDS: Readonly<Record<string, Readonly<Record<string, Expected>>>> = {
  automation_step: { stepId: "text", name: "text", step: "text", status: "text", index: "number", total: "number", durationMs: "number", detail: "text", error: "text" },
  progress: { percent: "percent", progress: "percent", message: "text" },
  evidence: { kind: "text", hash: "hash", image: "picture", contentType: "text", size: "number", width: "number", height: "number", caption: "text", description: "text", of: "text" },
  score_update: SCORE,
  review_score: SCORE,
  review_note: { text: "text", at: "number" },
  console_log: { level: "text", message: "text", source: "text", line: "number" },
  network_request: { method: "text", url: "text", status: "number", durationMs: "number", size: "number", error: "text" },
  error: { message: "text", error: "text", code: "text", stack: "text", fatal: "flag" },
};

/** A field that cannot be read. */
export interface Unreadable {
  field: string;
  /** What it holds, as JSON, cut. */
  value: string;
  expected: Expected;
}

/** Most characters of a value that are shown beside others. */
const SHOWN = 60;

/** The fields of an entry that hold something else than they are for. */
export function unreadable({ kind, name, data }: Pick<Entry, "kind" | "name" | "data">): Unreadable[] {
  const known = kind === "lifecycle" ? undefined : own(FIELDS, name);
  if (!known) return [];
  return Object.entries(known).flatMap(([field, expected]) => {
    const value = own(data, field);
    return value === undefined || value === null || READS[expected](value) ? [] : [{ field, expected, value: cut(shown(value), SHOWN) }];
  });
}

/** What a field says: its text, anything else as JSON; nothing if it is not there. */
export function said(data: Fields, field: string): string | null {
  const value = own(data, field);
  return value === undefined || value === null ? null : (text(value) ?? shown(value));
}

/** As `said`, for fields that hold a number: a text is told from a number by its quotation marks. */
export function saidAsIs(data: Fields, field: string): string | null {
  const value = own(data, field);
  return value === undefined || value === null ? null : cut(shown(value), SHOWN);
}
