import { describe, expect, test } from "vitest";
import { type Entry, fromMessage, weigh } from "../src/timeline/entry.js";
import { Filtered, allRows, listRows } from "../src/timeline/rows.js";
import { MOST, Timeline } from "../src/timeline/store.js";

export function entry(seq: number, data: Record<string, unknown> = { eventType: "progress", percent: seq }): Entry {
  const made = fromMessage({ id: `e${seq}`, type: "test_event", timestamp: seq * 1000, receivedAt: seq * 1000, seq, data });
  if (!made || !("seq" in made)) throw new Error("no entry");
  return made;
}

function filled(...seqs: number[]): Timeline {
  const timeline = new Timeline();
  for (const seq of seqs) timeline.add(entry(seq));
  return timeline;
}

describe("the time line", () => {
  test("keeps each entry once, in any order of arrival", () => {
    const timeline = filled(5, 3, 4);
    expect(timeline.add(entry(3))).toBe(false);
    expect([timeline.size, timeline.head]).toEqual([3, 5]);
    expect(timeline.of("progress")).toEqual([3, 4, 5]);
    expect(timeline.missing(1, 9)).toEqual([[1, 2]]);
  });

  test("a gap covers what is not here, and an entry that comes after all cuts it", () => {
    const timeline = filled(1, 5);
    timeline.addGap({ from: 1, to: 8, cause: "expired", history: true });
    expect(timeline.gaps.map(({ from, to }) => [from, to])).toEqual([[2, 4], [6, 8]]);
    expect(timeline.missing(1, 8)).toEqual([]);
    timeline.add(entry(3));
    expect(timeline.gaps.map(({ from, to }) => [from, to])).toEqual([[2, 2], [4, 4], [6, 8]]);
    timeline.reopen(6, 8);
    expect(timeline.missing(1, 8)).toEqual([[6, 8]]);
  });

  test("a gap of millions costs no time", () => {
    const timeline = filled(5_000_001);
    timeline.addGap({ from: 1, to: 5_000_000, cause: "retention", history: false });
    expect(timeline.missing(1, 5_000_001)).toEqual([]);
  });

  test("finds the next trouble", () => {
    const timeline = filled(1, 2);
    timeline.add(entry(9, { eventType: "error", message: "late" }));
    timeline.add(entry(4, { eventType: "network_request", status: 500 }));
    timeline.add(entry(6, { eventType: "automation_step", status: "failed" }));
    expect([0, 4, 6, 9].map((seq) => timeline.nextTrouble(seq))).toEqual([4, 6, 9, null]);
  });

  test("what is no event of ours is taken as something other, whatever it holds", () => {
    expect(entry(1, { eventType: "constructor" }).kind).toBe("other");
    expect(entry(1, { eventType: 7 }).name).toBe("");
    expect(fromMessage({ id: "x", type: "system_message", timestamp: 0, data: { type: "gap", fromSeq: 5, toSeq: 2 } })).toBe(null);
  });
});

describe("what is far away is let go", () => {
  const LINE = { eventType: "console_log", message: "line" };

  /** A live session: entries come one after the other. */
  function live(timeline: Timeline, from: number, to: number, data = LINE): number {
    let most = 0;
    for (let seq = from; seq <= to; seq += 1) {
      timeline.add(entry(seq, data));
      timeline.settle();
      most = Math.max(most, timeline.size);
    }
    return most;
  }

  test("however long a session lives, as many entries are here as are kept", () => {
    const timeline = new Timeline({ entries: 1000 });
    expect(live(timeline, 1, 20_000)).toBeLessThanOrEqual(1251);
    expect([timeline.head, timeline.journal.length, timeline.of("console").length]).toEqual([20_000, timeline.size, timeline.size]);
    // The newest are here, all of them.
    expect(timeline.missing(20_000 - timeline.size + 1, 20_000)).toEqual([]);
    expect(timeline.missing(1, 20_000)).toEqual([[1, 20_000 - timeline.size]]);
  });

  test("what is looked at stays, and what was let go can be loaded again", () => {
    const timeline = new Timeline({ entries: 1000 });
    live(timeline, 1, 1000);
    timeline.look(200, 240);
    live(timeline, 1001, 9000);
    expect(timeline.missing(100, 340)).toEqual([]);
    expect(timeline.get(4000)).toBe(undefined);
    expect(timeline.add(entry(4000, LINE))).toBe(true);
    expect(timeline.of("console").filter((seq) => seq === 4000)).toEqual([4000]);
  });

  test("what panels are made of goes last, and it, too, goes", () => {
    const timeline = new Timeline({ entries: 1000 });
    for (let seq = 1; seq <= 40; seq += 1) timeline.add(entry(seq, { eventType: "automation_step", stepId: `s${seq}`, status: seq === 7 ? "failed" : "passed" }));
    live(timeline, 41, 9000);
    expect([timeline.of("step").length, timeline.nextTrouble(0)]).toEqual([40, 7]);
    live(timeline, 9001, 30_000, { eventType: "error", message: "again" });
    expect(timeline.size).toBeLessThanOrEqual(1250);
    expect([timeline.of("step").length, timeline.trouble.length]).toEqual([0, timeline.of("error").length]);
  });

  test("who asks for all gets all; afterwards it grows no further", () => {
    const timeline = new Timeline({ entries: 1000 });
    timeline.keep(MOST);
    expect(live(timeline, 1, 5000)).toBe(5000);
    timeline.keep({ entries: timeline.size, bytes: timeline.bytes });
    expect(live(timeline, 5001, 20_000)).toBeLessThanOrEqual(6251);
  });

  test("a filter shows what is here and nothing else", () => {
    const timeline = new Timeline({ entries: 1000 });
    const filter = new Filtered(timeline, { kinds: new Set(["console"]), text: "" });
    for (let seq = 1; seq <= 5000; seq += 500) {
      live(timeline, seq, seq + 499);
      expect(filter.read()).toEqual([...timeline.of("console")]);
    }
  });

  test("gaps stay where they are", () => {
    const timeline = new Timeline({ entries: 1000 });
    timeline.addGap({ from: 2, to: 5, cause: "retention", history: false });
    live(timeline, 6, 9000);
    expect(timeline.gaps).toEqual([{ from: 2, to: 5, cause: "retention", history: false }]);
  });
});

describe("bytes count as well as entries", () => {
  const MB = 1_000_000;
  /** An entry that takes about 2 MB. */
  const large = (seq: number, data: Record<string, unknown> = { eventType: "console_log" }): Entry => entry(seq, { ...data, message: "x".repeat(MB) });

  test("a value weighs what is in it, however it is nested", () => {
    expect(weigh({ a: ["x".repeat(1000), { "long name": "y".repeat(500) }] })).toBeGreaterThan(3000);
    expect(weigh({ a: 1 })).toBeLessThan(1000);
    expect(weigh(JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`))).toBeGreaterThan(100_000);
    expect(weigh({ ["k".repeat(1000)]: null })).toBeGreaterThan(2000);
  });

  test("few large entries are let go as many small ones are", () => {
    const timeline = new Timeline({ bytes: 40 * MB });
    let most = 0;
    for (let seq = 1; seq <= 200; seq += 1) {
      timeline.add(large(seq));
      timeline.settle();
      most = Math.max(most, timeline.bytes);
    }
    expect(most).toBeLessThan(52.1 * MB);
    expect(timeline.size).toBeGreaterThanOrEqual(19);
    expect(timeline.missing(1, 200)).toEqual([[1, 200 - timeline.size]]);
  });

  test("what is in sight and what is chosen stay, whatever they take", () => {
    const timeline = new Timeline({ bytes: 10 * MB });
    timeline.look(20, 39);
    timeline.hold(3);
    for (let seq = 1; seq <= 100; seq += 1) timeline.add(large(seq));
    timeline.settle();
    expect(timeline.missing(1, 100)).toEqual([[1, 2], [4, 19], [40, 100]]);
    timeline.look(90, 100);
    timeline.hold(null);
    timeline.add(large(101));
    timeline.settle();
    expect([timeline.size, timeline.get(3), timeline.get(101)?.seq]).toEqual([4, undefined, 101]);
  });

  test("large screenshots in events go before small steps", () => {
    const timeline = new Timeline({ entries: 80, bytes: 10 * MB });
    for (let seq = 1; seq <= 40; seq += 1) {
      timeline.add(seq % 2 === 0 ? entry(seq, { eventType: "automation_step", stepId: `s${seq}`, status: "passed" }) : large(seq, { eventType: "evidence" }));
    }
    timeline.settle();
    expect([timeline.of("step").length, timeline.of("evidence").length]).toEqual([20, 4]);
  });

  test("who asks for all gets no more than a page can hold", () => {
    const timeline = new Timeline({ entries: 10, bytes: MB });
    timeline.keep({ entries: Infinity, bytes: 30 * MB });
    for (let seq = 1; seq <= 20 && !timeline.isFull; seq += 1) {
      timeline.add(large(seq));
      timeline.settle();
    }
    expect([timeline.size, timeline.isFull]).toEqual([15, true]);
  });
});

describe("rows", () => {
  const gaps = [{ from: 3, to: 5, cause: "expired", history: false }, { from: 8, to: 20, cause: "retention", history: false }];

  test.each([2, 4, 7, 10, 20, 25])("there and back, with gaps as one row, up to %i", (last) => {
    const rows = allRows(last, gaps);
    const seqs = Array.from({ length: rows.count }, (_, row) => rows.seqAt(row));
    const wanted = Array.from({ length: last }, (_, index) => index + 1).filter((seq) => !gaps.some((gap) => seq > gap.from && seq <= gap.to));
    expect(seqs).toEqual(wanted);
    expect(seqs.map((seq) => rows.rowOf(seq))).toEqual(seqs.map((_, row) => row));
  });

  test("a seq inside a gap is in the gap's row", () => {
    expect(allRows(25, gaps).rowOf(15)).toBe(allRows(25, gaps).rowOf(8));
  });

  test("a list ends where the replay is", () => {
    const rows = listRows([2, 5, 9], 6);
    expect([rows.count, rows.rowOf(5), rows.rowOf(9), rows.rowOf(1)]).toEqual([2, 1, 1, -1]);
  });

  test("a filter takes what is new, in order", () => {
    const timeline = filled(10);
    const filter = new Filtered(timeline, { kinds: new Set(["console"]), text: " HeLLo" });
    expect(filter.read()).toEqual([]);
    timeline.add(entry(12, { eventType: "console_log", message: "hello again" }));
    timeline.add(entry(3, { eventType: "console_log", message: "Hello" }));
    timeline.add(entry(4, { eventType: "note", message: "hello" }));
    expect(filter.read()).toEqual([3, 12]);
  });
});
