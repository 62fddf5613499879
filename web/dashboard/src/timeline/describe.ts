/** One line about an entry: what it says, and in which tone. */
import { t } from "../text/index.js";
import { bytes, oneLine, plain, threeDigits } from "../text/format.js";
import { span } from "../text/span.js";
import type { TextKey } from "../text/en.js";
import { en } from "../text/en.js";
import { own } from "../own.js";
import { progress, scores } from "./derive.js";
import { type Entry, type Fields, number, text } from "./entry.js";
import { said, saidAsIs, unreadable } from "./readable.js";

export type Tone = "plain" | "good" | "bad" | "warn" | "busy" | "muted";

export interface Line {
  title: string;
  detail: string;
  tone: Tone;
  /** Which fields cannot be read, each with what it holds. */
  marks: string[];
}

/** A line that is not made safe yet. */
interface Draft {
  title: string | null;
  detail: string;
  tone: Tone;
}

const STEP_TONE: Readonly<Record<string, Tone>> = { running: "busy", passed: "good", failed: "bad", skipped: "muted" };
const LEVEL_TONE: Readonly<Record<string, Tone>> = { warn: "warn", error: "bad", debug: "muted" };

/** A word of the protocol in the reader's language, or as it is. */
export function word(prefix: string, name: string): string {
  const key = `${prefix}.${name}`;
  return Object.hasOwn(en, key) ? t(key as TextKey) : oneLine(name, 40);
}

function join(...parts: (string | null | undefined)[]): string {
  return parts.filter((part) => part !== null && part !== undefined && part !== "").join(" · ");
}

/** A number in words; what stands in its place, if it is none; nothing if nothing does. */
function figure(data: Fields, field: string, format: (value: number) => string): string | null {
  const value = number(data[field]);
  return value === null ? saidAsIs(data, field) : format(value);
}

function step({ data }: Entry): Draft {
  const status = said(data, "status") ?? "";
  const title = said(data, "name") ?? said(data, "step") ?? said(data, "stepId");
  const detail = join(word("step", status), figure(data, "durationMs", span), said(data, "error") ?? said(data, "detail"));
  return { title, detail, tone: own(STEP_TONE, status) ?? "plain" };
}

function network({ data, isTrouble }: Entry): Draft {
  return {
    title: [said(data, "method"), said(data, "url")].filter((part) => part !== null).join(" "),
    detail: join(figure(data, "status", String), figure(data, "durationMs", span), figure(data, "size", bytes), said(data, "error")),
    tone: isTrouble ? "bad" : "plain",
  };
}

function score(entry: Entry): Draft {
  const [one] = scores([entry]);
  const { data } = entry;
  const of = !one || said(data, "score") === null ? null : one.score === null ? one.said : scoreOf(one.score, one.max);
  return { title: said(data, "criterion"), detail: join(of, said(data, "comment")), tone: "plain" };
}

/** A score in words: "0.88 of 1". */
export function scoreOf(score: number, max: number): string {
  return t("scores.of", { score: threeDigits(score), max: threeDigits(max) });
}

function note({ data }: Entry): Draft {
  const about = figure(data, "at", String);
  return { title: said(data, "text"), detail: about === null ? "" : t("notes.about", { seq: about }), tone: "plain" };
}

function lifecycle(entry: Entry): Draft {
  const status = text(entry.data.status);
  const ended = ["session_stopped", "session_expired"].includes(entry.name);
  return {
    title: word("life", entry.name),
    detail: join(ended && status !== null ? word("status", status) : null, text(entry.data.reason)),
    tone: entry.isTrouble ? "bad" : "muted",
  };
}

function percent({ data }: Entry): Draft {
  const found = progress([{ data } as Entry]);
  const title = found && ("percent" in found ? `${plain(threeDigits(found.percent))} %` : found.said);
  return { title, detail: said(data, "message") ?? "", tone: "plain" };
}

function other({ name, data }: Entry): Draft {
  return { title: name, detail: said(data, "message") ?? said(data, "text") ?? said(data, "name") ?? "", tone: "plain" };
}

function draft(entry: Entry): Draft {
  const { data } = entry;
  switch (entry.kind) {
    case "step":
      return step(entry);
    case "progress":
      return percent(entry);
    case "evidence":
      return { title: said(data, "caption") ?? said(data, "description") ?? t("evidence.untitled"), detail: join(said(data, "kind"), said(data, "contentType")), tone: "plain" };
    case "score":
      return score(entry);
    case "note":
      return note(entry);
    case "console":
      return { title: said(data, "message"), detail: join(said(data, "level"), said(data, "source")), tone: own(LEVEL_TONE, said(data, "level") ?? "") ?? "plain" };
    case "network":
      return network(entry);
    case "error":
      return { title: said(data, "message") ?? said(data, "error"), detail: said(data, "code") ?? "", tone: "bad" };
    case "lifecycle":
      return lifecycle(entry);
    case "other":
      return other(entry);
  }
}

/** What an event holds beside its type, as JSON: shown where none of the fields that make a line is there. */
function rest(data: Fields): string {
  return JSON.stringify({ ...data, eventType: undefined });
}

/** The line of an entry, safe to show beside others: short, on one line, in one direction. */
export function describe(entry: Entry): Line {
  const { title, detail, tone } = draft(entry);
  const isEmpty = detail === "" && entry.kind !== "lifecycle" && (title === null || title === "" || title === entry.name || title === t("evidence.untitled"));
  return {
    title: oneLine(title === null || title === "" ? "–" : title),
    detail: oneLine(isEmpty ? rest(entry.data) : detail),
    tone,
    marks: unreadable(entry).map(({ field, value, expected }) => oneLine(t(`field.${expected}`, { field, value }))),
  };
}
