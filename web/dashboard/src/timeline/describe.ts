/** One line about an entry: what it says, and in which tone. */
import { t } from "../text/index.js";
import { bytes, oneLine, plain, span, threeDigits } from "../text/format.js";
import type { TextKey } from "../text/en.js";
import { en } from "../text/en.js";
import { own } from "../own.js";
import { type Entry, type Fields, number, shown, text } from "./entry.js";

export type Tone = "plain" | "good" | "bad" | "warn" | "busy" | "muted";

export interface Line {
  title: string;
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

function took(data: Fields): string | null {
  const ms = number(data.durationMs);
  return ms === null ? null : span(ms);
}

function step({ data }: Entry): Line {
  const status = text(data.status) ?? (data.status === undefined || data.status === null ? "" : shown(data.status));
  const name = text(data.name) ?? text(data.step) ?? text(data.stepId) ?? "–";
  const detail = join(word("step", status), took(data), text(data.error) ?? text(data.detail));
  return { title: name, detail, tone: own(STEP_TONE, status) ?? "plain" };
}

function network({ data, isTrouble }: Entry): Line {
  const status = number(data.status);
  const size = number(data.size);
  return {
    title: `${text(data.method) ?? "–"} ${text(data.url) ?? "–"}`,
    detail: join(status === null ? null : String(status), took(data), size === null ? null : bytes(size), text(data.error)),
    tone: isTrouble ? "bad" : "plain",
  };
}

function score({ data }: Entry): Line {
  const [value, max] = [number(data.score), number(data.max) ?? 1];
  const title = text(data.criterion) ?? "–";
  const of = value === null ? "–" : t("scores.of", { score: threeDigits(value), max: threeDigits(max) });
  return { title, detail: join(of, text(data.comment)), tone: "plain" };
}

function lifecycle(entry: Entry): Line {
  const status = text(entry.data.status);
  const ended = ["session_stopped", "session_expired"].includes(entry.name);
  return {
    title: word("life", entry.name),
    detail: join(ended && status !== null ? word("status", status) : null, text(entry.data.reason)),
    tone: entry.isTrouble ? "bad" : "muted",
  };
}

function other({ name, data }: Entry): Line {
  const said = text(data.message) ?? text(data.text) ?? text(data.name);
  return { title: name === "" ? "–" : name, detail: said ?? JSON.stringify(data).slice(0, 300), tone: "plain" };
}

function raw(entry: Entry): Line {
  const { data } = entry;
  switch (entry.kind) {
    case "step":
      return step(entry);
    case "progress":
      return { title: `${plain(threeDigits(number(data.percent) ?? number(data.progress) ?? 0))} %`, detail: text(data.message) ?? "", tone: "plain" };
    case "evidence":
      return { title: text(data.caption) ?? text(data.description) ?? t("evidence.untitled"), detail: join(text(data.kind), text(data.contentType)), tone: "plain" };
    case "score":
      return score(entry);
    case "note":
      return { title: text(data.text) ?? "", detail: number(data.at) === null ? "" : t("notes.about", { seq: number(data.at) ?? 0 }), tone: "plain" };
    case "console":
      return { title: text(data.message) ?? "–", detail: join(text(data.level), text(data.source)), tone: own(LEVEL_TONE, text(data.level) ?? "") ?? "plain" };
    case "network":
      return network(entry);
    case "error":
      return { title: text(data.message) ?? text(data.error) ?? "–", detail: text(data.code) ?? "", tone: "bad" };
    case "lifecycle":
      return lifecycle(entry);
    case "other":
      return other(entry);
  }
}

/** The line of an entry, safe to show beside others: short, on one line, in one direction. */
export function describe(entry: Entry): Line {
  const line = raw(entry);
  return { ...line, title: oneLine(line.title), detail: oneLine(line.detail) };
}
