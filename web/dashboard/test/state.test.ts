import { describe, expect, test } from "vitest";
import { exportedSession, readExported } from "../src/live/exported.js";
import { hasEnded } from "../src/live/model.js";
import { SessionState } from "../src/views/session-state.js";

function state(last: number, ...others: Record<string, unknown>[]): SessionState {
  const events = Array.from({ length: last }, (_, at) => ({ id: `e${at}`, type: "test_event", timestamp: 1, seq: at + 1, data: { eventType: "console_log", message: at % 2 === 0 ? "even" : "odd" } }));
  return new SessionState(exportedSession(readExported(JSON.stringify({ version: 1, session: { sessionId: "s", headSeq: last }, events: [...events, ...others] }))));
}

describe("the chosen row", () => {
  /** The seqs of the rows that are marked. */
  const marked = (one: SessionState): number[] => Array.from({ length: one.rows.value.count }, (_, row) => row).filter((row) => one.isInRow(row)).map((row) => one.rows.value.seqAt(row));

  test.each([1, 4, 5, 9, 10])("is that of the chosen entry %i, and none where a search hides it", (seq) => {
    const one = state(10);
    one.choose(seq);
    expect(marked(one)).toEqual([seq]);
    one.text.value = "odd";
    expect(marked(one)).toEqual(seq % 2 === 0 ? [seq] : []);
    one.text.value = "nothing has this";
    expect(marked(one)).toEqual([]);
    one.text.value = "";
    expect(marked(one)).toEqual([seq]);
  });

  test("is that of the gap that the chosen entry is in", () => {
    const one = state(2, { id: "g", type: "system_message", timestamp: 0, data: { type: "gap", fromSeq: 3, toSeq: 7, cause: "retention", history: false } });
    one.choose(5);
    expect(marked(one)).toEqual([3]);
  });

  test("moves on from its place where a search hides it", () => {
    const one = state(10);
    one.choose(5);
    one.text.value = "odd";
    one.move(1);
    expect(marked(one)).toEqual([6]);
  });
});

test.each([["idle", false], ["running", false], ["paused", false], ["completed", true], ["error", true], ["expired", true], ["of a later version", false]])("a session that is %s has ended: %s", (status, is) => {
  expect(hasEnded({ status: status as "idle" })).toBe(is);
  expect(hasEnded({ status: status as "idle", endedAt: 5 })).toBe(true);
});
