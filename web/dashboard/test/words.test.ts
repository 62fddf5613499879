/** Words that newer servers and other publishers use: none of them is taken for a good state, and each is shown. */
import { describe, expect, test } from "vitest";
import type { VNode } from "preact";
import type { Rule, SessionInfo } from "../src/api/types.js";
import { afterLifecycle } from "../src/live/model.js";
import { StatusBadge, StepBadge, alertLook, changeLook } from "../src/parts/Badge.js";
import { count, steps } from "../src/timeline/derive.js";
import { describe as line } from "../src/timeline/describe.js";
import { type Entry, fromMessage } from "../src/timeline/entry.js";
import { statesOf } from "../src/views/NowTables.js";

const UNKNOWN = ["error", "ok", "success", "Passed", "timed out", "constructor", "__proto__", ""];

function entry(seq: number, data: Record<string, unknown>, type: "test_event" | "system_message" = "test_event"): Entry {
  return fromMessage({ id: `e${seq}`, type, timestamp: seq * 1000, receivedAt: seq * 1000, seq, data }) as Entry;
}

/** What a mark of a state looks like: its class, and its words. */
function look(badge: VNode): { tone: string; said: string } {
  const { class: tone, children } = badge.props as { class: string; children?: unknown };
  return { tone, said: [children].flat(3).filter((part) => typeof part === "string").join("") };
}

describe("a step", () => {
  test.each(UNKNOWN)("whose status is %j is neither passed nor failed, and shows the word", (status) => {
    const all = steps([entry(1, { eventType: "automation_step", stepId: "a", status: "passed" }), entry(2, { eventType: "automation_step", stepId: "b", status })]);
    expect(all[1]).toMatchObject({ status: null, otherStatus: status });
    expect(count(all)).toEqual({ done: 1, unknown: 1 });
    const badge = look(StepBadge({ step: all[1]! }));
    expect(badge.tone).toBe("badge tone-muted");
    expect(badge.said).toContain(status);
    expect(badge.said).not.toBe("");
    const row = line(entry(2, { eventType: "automation_step", stepId: "b", status }));
    expect(row.tone).toBe("plain");
    expect(row.detail).toContain(status);
  });

  test.each([7, true, ["passed"], { passed: true }])("whose status is %j shows what it is", (status) => {
    const [step] = steps([entry(1, { eventType: "automation_step", stepId: "a", status })]);
    expect(step).toMatchObject({ status: null, otherStatus: JSON.stringify(status) });
  });

  test("without a status has none; an event of a step that says none leaves it as it was", () => {
    const all = steps([entry(1, { step: "one" }), entry(2, { stepId: "a", status: "running" }), entry(3, { stepId: "a", detail: "more" }), entry(4, { stepId: "b", status: "failed" }), entry(5, { stepId: "b", status: null })]);
    expect(all.map(({ status }) => status)).toEqual([null, "running", "failed"]);
    expect(look(StepBadge({ step: all[0]! }))).toEqual({ tone: "badge tone-muted", said: "No status" });
    expect(count(all)).toEqual({ done: 1, unknown: 1 });
  });

  test.each([["passed", "good"], ["failed", "bad"], ["running", "busy"], ["skipped", "muted"]])("of a known status looks like it: %s", (status, tone) => {
    const [step] = steps([entry(1, { stepId: "a", status })]);
    expect(look(StepBadge({ step: step! })).tone).toBe(`badge tone-${tone}`);
  });
});

describe("a session", () => {
  test.each(UNKNOWN)("whose state is %j is shown with the word", (status) => {
    expect(look(StatusBadge({ status } as never))).toEqual(status === "error" ? { tone: "badge tone-bad", said: "Failed" } : { tone: "badge tone-muted", said: status });
  });

  test("that goes into an unknown state is not called running any more", () => {
    const info = { status: "running" } as SessionInfo;
    const next = afterLifecycle(info, entry(9, { type: "session_stopped", status: "aborted", reason: "no more" }, "system_message"));
    expect(next).toMatchObject({ status: "aborted", endedAt: 9000, reason: "no more" });
    expect(afterLifecycle(info, entry(9, { type: "session_paused" }, "system_message")).status).toBe("running");
  });

  test("of an unknown state is counted where states are", () => {
    const counts = { running: 2, aborted: 3 } as never;
    expect(statesOf(counts).slice(-1)).toEqual(["aborted"]);
    expect(statesOf(counts)).toHaveLength(7);
  });
});

describe("an alert", () => {
  test.each(["emergency", "constructor", ""])("of the severity %j is no mere warning", (severity) => {
    expect(alertLook(severity)).toEqual({ shape: "cross", tone: "bad", said: severity });
  });

  test("of a known severity is called so", () => {
    expect([alertLook("warning"), alertLook("critical")].map(({ tone, said }) => [tone, said])).toEqual([["warn", "Warning"], ["bad", "Critical"]]);
  });

  test.each(["flapping", "constructor"])("that changed into %j is not called well", (state) => {
    expect(changeLook(state as Rule["state"], "critical")).toEqual({ shape: "ring", tone: "warn", said: state });
    expect(changeLook("ok", "critical").tone).toBe("good");
  });
});

describe("an event", () => {
  test.each(["fatal", "WARN", "constructor"])("of the console's level %j shows it, and has no level's tone", (level) => {
    expect(line(entry(1, { eventType: "console_log", message: "m", level }))).toMatchObject({ tone: "plain", detail: level });
  });
});
