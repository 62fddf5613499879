/**
 * Exported files whose values are changed: each is refused with an error, or shown, whatever its events hold. Each file is made from its
 * number; `FUZZ_FIRST` and `FUZZ_FILES` choose others.
 */
import { expect, test } from "vitest";
import { mutated, oneOf } from "../../client/test/support/mutate.js";
import { seeded } from "../../client/test/support/seeded.js";
import { type Exported, exportedSession, readExported } from "../src/live/exported.js";
import type { SessionModel } from "../src/live/model.js";
import { notes, progress, scores, steps } from "../src/timeline/derive.js";
import { describe as line } from "../src/timeline/describe.js";
import type { Entry } from "../src/timeline/entry.js";
import { unreadable } from "../src/timeline/readable.js";
import { SessionState } from "../src/views/session-state.js";

const HASH = "b".repeat(64);
const DATA: readonly Record<string, unknown>[] = [
  { eventType: "automation_step", step: "click", status: "failed", durationMs: 12, selector: "#a" },
  { eventType: "progress", percent: 50, message: "half" },
  { eventType: "evidence", hash: HASH, contentType: "text/plain", caption: "c" },
  { eventType: "evidence", url: "data:image/png;base64,AA==" },
  { eventType: "score_update", score: 3, max: 5, criterion: "speed" },
  { eventType: "review_note", text: "n", aboutSeq: 1 },
  { eventType: "review_score", score: 1, max: 1, criterion: "speed", aboutSeq: 2 },
  { eventType: "console_log", level: "error", message: "m" },
  { eventType: "network_request", method: "GET", url: "http://h/", status: 500, durationMs: 3 },
  { eventType: "error", message: "m", stack: "s" },
  { type: "session_stopped", from: "running", status: "completed" },
  { type: "gap", fromSeq: 3, toSeq: 7, cause: "retention", history: false },
];

function whole(): Exported {
  const events = DATA.map((data, at) => ({
    id: `e${at}`, type: "type" in data ? "system_message" : "test_event", timestamp: 1_760_000_000_000 + at, receivedAt: 1_760_000_000_001 + at,
    ...(data.type !== "gap" && { seq: at + 1 }), data, sender: { userId: "u", username: "Ann", role: "evaluator", clientId: "c" }, metadata: { priority: "high" },
  }));
  const session = { sessionId: "s", status: "completed", headSeq: DATA.length, participants: [], createdAt: 1, projectId: "p", testId: "t", agentName: "a" };
  return { version: 1, exportedAt: 1, session, events, evidence: { [HASH]: { contentType: "text/plain", base64: btoa("hello") } } } as unknown as Exported;
}

/** Whatever the page derives of a session. */
function show(model: SessionModel): void {
  const entries: Entry[] = [];
  for (let seq = 1; seq <= DATA.length + 2; seq += 1) {
    const entry = model.timeline.get(seq);
    if (entry) entries.push(entry);
  }
  for (const entry of entries) {
    expect(Number.isFinite(entry.at) && Number.isFinite(entry.weight), `time and weight of ${entry.seq}`).toBe(true);
    line(entry);
    unreadable(entry);
  }
  steps(entries);
  scores(entries);
  notes(entries);
  progress(entries);
  const state = new SessionState(model);
  state.text.value = "a";
  expect(state.rows.value.count).toBeGreaterThanOrEqual(0);
  model.close();
}

/** Runs files, and names the one that fails. */
function files(play: (random: () => number, others: string[]) => void): void {
  const first = Number(process.env.FUZZ_FIRST ?? 1);
  const others = [JSON.stringify(whole())];
  for (let number = first; number < first + Number(process.env.FUZZ_FILES ?? 1_000); number += 1) {
    try {
      play(seeded(number), others);
    } catch (error) {
      throw new Error(`file ${number} (FUZZ_FIRST=${number} FUZZ_FILES=1 npx vitest run exported-fuzz): ${String(error)}`, { cause: error });
    }
  }
}

test("events may hold anything, and are shown", () => {
  files((random, others) => {
    const file = whole();
    for (let left = 3; left > 0; left -= 1) {
      const at = Math.floor(random() * file.events.length);
      const changed = mutated(random, JSON.stringify(file.events[at]?.data), others);
      let data: unknown;
      try {
        data = JSON.parse(String(changed));
      } catch {
        continue;
      }
      Object.assign(file.events[at] ?? {}, { data });
    }
    show(exportedSession(readExported(JSON.stringify(file))));
  });
});

test("a file is refused with an error, or shown", () => {
  files((random, others) => {
    const json = mutated(random, oneOf(random, others), others);
    let model: SessionModel;
    try {
      model = exportedSession(readExported(String(json)));
    } catch (error) {
      expect(error, "what is thrown is said to the user").toBeInstanceOf(Error);
      return;
    }
    show(model);
  });
});
