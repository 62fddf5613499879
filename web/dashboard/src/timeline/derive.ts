/** What the panels show, from entries: steps, scores, notes, evidence. */
import { type Entry, number, shown, text } from "./entry.js";

export type StepStatus = "running" | "passed" | "failed" | "skipped";
const STEP_STATUSES: readonly string[] = ["running", "passed", "failed", "skipped"] satisfies StepStatus[];

/** One step of the agent, as its events up to now tell. */
export interface Step {
  key: string;
  name: string;
  /** `null` if its events say none, or one that is not known: then it counts as neither passed nor failed. */
  status: StepStatus | null;
  /** The status that is not known, as it is. */
  otherStatus: string | null;
  /** Its place among `total`, from 1. */
  index: number | null;
  total: number | null;
  durationMs: number | null;
  error: string | null;
  /** Its first and its last event. */
  firstSeq: number;
  lastSeq: number;
}

/** The steps in the order in which they began. The same `stepId` again updates a step. */
export function steps(entries: readonly Entry[]): Step[] {
  const found = new Map<string, Step & { startedAt: number }>();
  for (const { seq, at, data } of entries) {
    const name = text(data.name) ?? text(data.step) ?? "";
    const key = text(data.stepId) ?? `#${seq}`;
    const before = found.get(key);
    const { status, otherStatus } = statusOf(data.status) ?? before ?? { status: null, otherStatus: null };
    const measured = hasEnded({ status }) && before ? at - before.startedAt : null;
    found.set(key, {
      key,
      name: name === "" ? (before?.name ?? key) : name,
      status,
      otherStatus,
      index: number(data.index) ?? before?.index ?? null,
      total: number(data.total) ?? before?.total ?? null,
      durationMs: number(data.durationMs) ?? measured,
      error: text(data.error) ?? before?.error ?? null,
      firstSeq: before?.firstSeq ?? seq,
      lastSeq: seq,
      startedAt: before?.startedAt ?? at,
    });
  }
  return [...found.values()];
}

/** Whether a step has ended in a known way. */
function hasEnded({ status }: Pick<Step, "status">): boolean {
  return status !== null && status !== "running";
}

/** The status that an event of a step says; nothing if it says none. */
function statusOf(value: unknown): Pick<Step, "status" | "otherStatus"> | null {
  if (value === undefined || value === null) return null;
  const isKnown = typeof value === "string" && STEP_STATUSES.includes(value);
  return isKnown ? { status: value as StepStatus, otherStatus: null } : { status: null, otherStatus: text(value) ?? shown(value) };
}

/** How many steps have ended in a known way, and how many have no known status. */
export function count(all: readonly Step[]): { done: number; unknown: number } {
  const unknown = all.filter(({ status }) => status === null).length;
  return { done: all.filter(hasEnded).length, unknown };
}

/** One score as it was given. */
export interface Score {
  seq: number;
  at: number;
  criterion: string;
  score: number;
  max: number;
  comment: string | null;
  author: string;
  /** Given by a reviewer and not by whoever publishes the session. */
  isReview: boolean;
}

/** The scores in order; what has no number is none. */
export function scores(entries: readonly Entry[]): Score[] {
  return entries.flatMap(({ seq, at, data, sender, name }) => {
    const score = number(data.score);
    if (score === null) return [];
    const max = number(data.max) ?? 1;
    return [{
      seq, at, score, max: max > 0 ? max : 1, criterion: text(data.criterion) ?? "–", comment: text(data.comment),
      author: sender?.username ?? "–", isReview: name === "review_score",
    }];
  });
}

/** The scores of each criterion, the newest criterion's last score last. */
export function byCriterion(all: readonly Score[]): Map<string, Score[]> {
  const found = new Map<string, Score[]>();
  for (const score of all) {
    const list = found.get(score.criterion);
    if (list) list.push(score);
    else found.set(score.criterion, [score]);
  }
  return found;
}

/** A reviewer's note. */
export interface Note {
  seq: number;
  at: number;
  text: string;
  /** The seq that it is about. */
  about: number | null;
  author: string;
}

/** The notes in order. */
export function notes(entries: readonly Entry[]): Note[] {
  return entries.map(({ seq, at, data, sender }) => ({
    seq, at, text: text(data.text) ?? "", about: number(data.at), author: sender?.username ?? "–",
  }));
}

/** Image types that are shown as images. Others could hold script or outside addresses. */
export const IMAGE_TYPES: readonly string[] = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const VIDEO_TYPES: readonly string[] = ["video/webm", "video/mp4"];
const TEXT_TYPES: readonly string[] = ["text/plain", "application/json", "text/html"];
/** Longest image that an event may hold itself, characters. */
const LONGEST_INLINE = 8_000_000;

/** How a piece of evidence is shown. */
export type Showing = "image" | "video" | "text" | "file";

/** A piece of evidence that an event names. */
export interface Evidence {
  seq: number;
  at: number;
  caption: string;
  /** Where its bytes are: in the store, in the event itself, or nowhere. */
  place: { in: "store"; hash: string } | { in: "event"; url: string } | null;
  contentType: string;
  showing: Showing;
  size: number | null;
  width: number | null;
  height: number | null;
}

function showingOf(contentType: string): Showing {
  if (IMAGE_TYPES.includes(contentType)) return "image";
  if (VIDEO_TYPES.includes(contentType)) return "video";
  return TEXT_TYPES.includes(contentType) ? "text" : "file";
}

function inlineType(url: string): string | null {
  if (url.length > LONGEST_INLINE) return null;
  const [head = "", body = ""] = url.split(",", 2);
  const type = /^data:([a-z]+\/[a-z]+);base64$/.exec(head)?.[1] ?? "";
  return IMAGE_TYPES.includes(type) && /^[A-Za-z0-9+/]*={0,2}$/.test(body) ? type : null;
}

/** The evidence that an entry names. */
export function evidenceOf(entry: Entry): Evidence {
  const { seq, at, data } = entry;
  const hash = text(data.hash);
  const inline = text(data.image);
  const inEvent = inline === null ? null : inlineType(inline);
  const inStore = hash !== null && /^[0-9a-f]{64}$/.test(hash);
  const contentType = inStore ? (text(data.contentType) ?? "").split(";")[0]?.trim().toLowerCase() ?? "" : (inEvent ?? "");
  return {
    seq, at, contentType,
    caption: text(data.caption) ?? text(data.description) ?? text(data.kind) ?? "",
    place: inStore ? { in: "store", hash } : inEvent !== null && inline !== null ? { in: "event", url: inline } : null,
    showing: showingOf(contentType),
    size: number(data.size), width: number(data.width), height: number(data.height),
  };
}

/** Percent of the newest progress event, 0 to 100. */
export function progress(entries: readonly Entry[]): number | null {
  const newest = entries.at(-1);
  const percent = newest ? (number(newest.data.percent) ?? number(newest.data.progress)) : null;
  return percent === null ? null : Math.min(Math.max(percent, 0), 100);
}
