import { describe, expect, test } from "vitest";
import { readRoute } from "../src/routes.js";
import { evidenceOf, progress, steps } from "../src/timeline/derive.js";
import { Samples } from "../src/plots/samples.js";
import { exportedSession, readExported } from "../src/live/exported.js";
import { type Entry, fromMessage } from "../src/timeline/entry.js";

function entry(seq: number, data: Record<string, unknown>): Entry {
  return fromMessage({ id: `e${seq}`, type: "test_event", timestamp: seq * 1000, receivedAt: seq * 1000, seq, data }) as Entry;
}

describe("steps", () => {
  test("the same stepId updates a step; its time is measured where nobody says it", () => {
    const [first, second] = steps([
      entry(1, { stepId: "a", name: "Open", status: "running", total: 2 }),
      entry(2, { stepId: "b", name: "Pay", status: "running" }),
      entry(4, { stepId: "a", status: "passed" }),
      entry(5, { stepId: "b", status: "failed", durationMs: 70, error: "502" }),
    ]);
    expect(first).toMatchObject({ name: "Open", status: "passed", durationMs: 3000, total: 2, firstSeq: 1, lastSeq: 4 });
    expect(second).toMatchObject({ name: "Pay", status: "failed", durationMs: 70, error: "502" });
  });

  test("older publishers only name the step", () => {
    expect(steps([entry(1, { step: "one" }), entry(2, { step: "one" })]).map(({ name }) => name)).toEqual(["one", "one"]);
  });
});

describe("evidence", () => {
  const hash = "a".repeat(64);
  test("of the store", () => {
    expect(evidenceOf(entry(1, { hash, contentType: "image/png; x=y" }))).toMatchObject({ place: { in: "store", hash }, contentType: "image/png", showing: "image" });
    expect(evidenceOf(entry(1, { hash, contentType: "image/svg+xml" })).showing).toBe("file");
    expect(evidenceOf(entry(1, { hash, contentType: "text/html" })).showing).toBe("text");
  });

  test.each(["data:image/svg+xml;base64,AAAA", "javascript:alert(1)", "https://example.org/x.png", "data:image/png;base64,A\"onerror", "data:text/html,x", "data:image/png,AAAA"])("%s is no image of ours", (image) => {
    expect(evidenceOf(entry(1, { image })).place).toBe(null);
  });

  test("in the event", () => {
    expect(evidenceOf(entry(1, { image: "data:image/png;base64,AAAA" }))).toMatchObject({ place: { in: "event" }, showing: "image" });
    expect(evidenceOf(entry(1, { hash: "../../etc/passwd" })).place).toBe(null);
  });
});

test("progress is 0 to 100, or what stands in its place", () => {
  const all = [[], [{ percent: 40 }], [{ percent: 40 }, { percent: 400 }], [{ percent: "50 %" }], [{ progress: 7 }], [{ message: "x" }]];
  expect(all.map((events) => progress(events.map((data, at) => entry(at + 1, data))))).toEqual([null, { percent: 40 }, { said: "400" }, { said: '"50 %"' }, { percent: 7 }, null]);
});

test("routes", () => {
  expect(["", "#/", "#/sessions", "#/sessions/A-1", "#/sessions/<b>", "#/x"].map((hash) => readRoute(hash).view)).toEqual(["now", "now", "sessions", "session", "unknown", "unknown"]);
});

test("samples are kept for ten minutes, and never run backwards", () => {
  const samples = new Samples(1);
  for (let at = 1; at <= 700; at += 1) samples.add(at * 1000, [at]);
  samples.add(5000, [0]);
  const [times, values] = samples.read();
  expect([times?.length, times?.[0], values?.at(-1)]).toEqual([600, 101, 700]);
});

describe("an exported file", () => {
  test("of another version says so", () => {
    expect(() => readExported('{"version":2}')).toThrow(/version/);
    expect(() => readExported('{"version":1}')).toThrow(/no session/);
  });

  test("has its events and its evidence", async () => {
    const hash = "b".repeat(64);
    const file = { version: 1, exportedAt: 1, session: { sessionId: "s", headSeq: 1 }, evidence: { [hash]: { contentType: "text/plain", base64: btoa("hello") } },
      events: [{ id: "e", type: "test_event", timestamp: 1, seq: 1, data: { eventType: "evidence", hash, contentType: "text/plain" } }] };
    const model = exportedSession(readExported(JSON.stringify(file)));
    const found = model.timeline.get(1);
    if (!found) throw new Error("no entry");
    expect(await (await model.shelf.get(evidenceOf(found))).blob.text()).toBe("hello");
    await expect(model.shelf.get({ ...evidenceOf(found), place: { in: "store", hash: "c".repeat(64) } })).rejects.toThrow();
    model.close();
  });
});
