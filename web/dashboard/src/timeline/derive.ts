/** What the panels show, from entries: steps, scores, notes, evidence. */
import { type Entry, number, shown, text } from "./entry.js";
import { IMAGE_TYPES, inlineType, isHash, isPercent, saidAsIs } from "./readable.js";

export { IMAGE_TYPES } from "./readable.js";

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
  /** `null` if it cannot be read, or its scale cannot. */
  score: number | null;
  /** The best that there is; of a score that cannot be read, 1. */
  max: number;
  /** What the event holds instead of a score that can be read. */
  said: string;
  comment: string | null;
  authorId: string;
  author: string;
  /** Given by a reviewer and not by whoever publishes the session. */
  isReview: boolean;
}

/** The scores in order, also those that cannot be read. */
export function scores(entries: readonly Entry[]): Score[] {
  return entries.map(({ seq, at, data, sender, name }) => {
    const score = number(data.score);
    const hasScale = data.max !== undefined && data.max !== null;
    const max = hasScale ? (number(data.max) ?? 0) : 1;
    const said = saidAsIs(data, "score") ?? "–";
    return {
      seq, at, score: max > 0 ? score : null, max: max > 0 ? max : 1, said: hasScale ? `${said} / ${saidAsIs(data, "max") ?? ""}` : said,
      criterion: text(data.criterion) ?? saidAsIs(data, "criterion") ?? "–", comment: text(data.comment),
      authorId: sender?.userId ?? "", author: sender?.username ?? "–", isReview: name === "review_score",
    };
  });
}

/** Puts together what has the same key, in the order in which keys are first met. */
function grouped<T>(all: readonly T[], keyOf: (one: T) => unknown): T[][] {
  const found = new Map<string, T[]>();
  for (const one of all) {
    // As JSON, since parts of a key can hold anything and must not run into each other.
    const key = JSON.stringify(keyOf(one));
    const list = found.get(key);
    if (list) list.push(one);
    else found.set(key, [one]);
  }
  return [...found.values()];
}

/** The newest score of each author and criterion: these count. Those of one criterion stand together. */
export function newest(all: readonly Score[]): Score[] {
  return grouped(all, ({ criterion }) => criterion)
    .flatMap((one) => grouped(one, ({ authorId }) => authorId))
    .flatMap((one) => one.at(-1) ?? []);
}

/** What one author gave for one criterion on one scale. */
export interface ScoreLine {
  criterion: string;
  author: string;
  given: Score[];
}

/** The scores that one axis can show: those of the same best score. */
export interface Scale {
  max: number;
  lines: ScoreLine[];
}

/** The scores that can be read, by scale, author and criterion. Different scales have different axes: 3 of 5 is not 0.6 of 1. */
export function scales(all: readonly Score[]): Scale[] {
  return grouped(all.filter(({ score }) => score !== null), ({ max }) => max).map((ofScale) => ({
    max: ofScale[0]?.max ?? 1,
    lines: grouped(ofScale, ({ authorId, criterion }) => [authorId, criterion])
      .map((given) => ({ criterion: given[0]?.criterion ?? "", author: given[0]?.author ?? "", given })),
  }));
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

const VIDEO_TYPES: readonly string[] = ["video/webm", "video/mp4"];
const TEXT_TYPES: readonly string[] = ["text/plain", "application/json", "text/html"];

/** How a piece of evidence is shown. */
export type Showing = "image" | "video" | "text" | "file";

/** A piece of evidence that an event names. */
export interface Evidence {
  seq: number;
  at: number;
  caption: string;
  /** Where its bytes are: in the store, in the event itself, or nowhere. */
  place: { in: "store"; hash: string } | { in: "event"; url: string } | null;
  /** What the event has in the place of a hash or a picture, cut. */
  named: string;
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

/** The evidence that an entry names. */
export function evidenceOf(entry: Entry): Evidence {
  const { seq, at, data } = entry;
  const hash = text(data.hash);
  const inline = text(data.image);
  const inEvent = inline === null ? null : inlineType(inline);
  const inStore = hash !== null && isHash(hash);
  const contentType = inStore ? (text(data.contentType) ?? "").split(";")[0]?.trim().toLowerCase() ?? "" : (inEvent ?? "");
  return {
    seq, at, contentType,
    caption: text(data.caption) ?? text(data.description) ?? text(data.kind) ?? "",
    place: inStore ? { in: "store", hash } : inEvent !== null && inline !== null ? { in: "event", url: inline } : null,
    named: saidAsIs(data, "hash") ?? saidAsIs(data, "image") ?? "–",
    showing: showingOf(contentType),
    size: number(data.size), width: number(data.width), height: number(data.height),
  };
}

/** Percent of the newest progress event, 0 to 100; what it says, if that is no percentage; `null` without one. */
export function progress(entries: readonly Entry[]): { percent: number } | { said: string } | null {
  const data = entries.at(-1)?.data;
  if (!data) return null;
  const [said, percent] = [saidAsIs(data, "percent") ?? saidAsIs(data, "progress"), number(data.percent) ?? number(data.progress)];
  if (said === null) return null;
  return percent !== null && isPercent(percent) ? { percent } : { said };
}
