import { describe, expect, test, vi } from "vitest";
import { readPart } from "../src/api/http.js";
import type { LogPart } from "../src/api/types.js";
import { CHUNK, Loader } from "../src/live/loader.js";
import { Timeline } from "../src/timeline/store.js";

interface Log {
  loader: Loader;
  timeline: Timeline;
  /** Ranges that were asked for. */
  asked: [number, number][];
}

/** A log of `head` events of `size` characters, of which an answer gives so many. */
function log(head: number, perAnswer: number, size = 10, bytes = Infinity): Log {
  const timeline = new Timeline({ bytes });
  timeline.reach(head);
  const asked: [number, number][] = [];
  const read = (from: number, to: number): Promise<LogPart> => {
    asked.push([from, to]);
    const last = Math.min(to, head, from + perAnswer - 1);
    const messages = Array.from({ length: last - from + 1 }, (_, index) => (
      { id: `e${from + index}`, type: "test_event" as const, timestamp: 1, seq: from + index, data: { eventType: "console_log", message: "x".repeat(size) } }));
    return Promise.resolve({ messages, isWhole: last >= Math.min(to, head) });
  };
  const loader = new Loader(timeline, read, () => timeline.settle(), (error) => {
    throw error;
  });
  return { loader, timeline, asked };
}

describe("ranges are loaded", () => {
  test("small events by the chunk, once", async () => {
    const { loader, timeline, asked } = log(1200, CHUNK);
    loader.want(610, 650);
    loader.want(620, 660);
    await vi.waitFor(() => expect(timeline.missing(501, 1000)).toEqual([]));
    expect(asked).toEqual([[501, 1000]]);
  });

  test("of large events, what is looked at, part by part", async () => {
    const { loader, timeline, asked } = log(1200, 8);
    loader.want(610, 630);
    await vi.waitFor(() => expect(timeline.missing(610, 630)).toEqual([]));
    expect(asked).toEqual([[501, 1000], [610, 630], [618, 630], [626, 630]]);
    expect(timeline.gaps).toEqual([]);
  });

  test("nothing twice, where what is looked for is more than is kept", async () => {
    const { loader, asked } = log(500, 1, 1_000_000, 10_000_000);
    loader.want(101, 130);
    await vi.waitFor(() => expect(asked.at(-1)).toEqual([130, 130]));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(asked.length).toBe(31);
  });

  test("what is looked at while all of it is loaded", async () => {
    const { loader, timeline } = log(60, 4, 1_000_000, 10_000_000);
    timeline.look(30, 50);
    void loader.all(() => true);
    loader.want(30, 50);
    await vi.waitFor(() => expect(timeline.missing(30, 50)).toEqual([]));
  });

  test("all of it, as far as it is kept", async () => {
    const small = log(1200, 60);
    await small.loader.all(() => true);
    expect([small.timeline.size, small.timeline.gaps]).toEqual([1200, []]);
    const large = log(1200, 8, 1_000_000, 40_000_000);
    await large.loader.all(() => true);
    expect(large.timeline.bytes).toBeLessThan(60_000_000);
  });
});

describe("an answer", () => {
  const lines = (...texts: string[]): Response => {
    const bytes = new TextEncoder().encode(texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
    // In pieces of 7 bytes, which cut lines and letters.
    const pieces = Array.from({ length: Math.ceil(bytes.length / 7) }, (_, index) => bytes.slice(index * 7, index * 7 + 7));
    return new Response(new ReadableStream({
      pull(controller) {
        const piece = pieces.shift();
        if (piece) controller.enqueue(piece);
        else controller.close();
      },
    }));
  };

  test("is read line by line, wherever it is cut", async () => {
    const { messages, isWhole } = await readPart(lines("événement", "事件", "😀"), Infinity);
    expect([messages, isWhole]).toEqual([[{ text: "événement" }, { text: "事件" }, { text: "😀" }], true]);
  });

  test("that is too long is read as far as that, and one line at the least", async () => {
    const { messages, isWhole } = await readPart(lines("x".repeat(100), "y", "z"), 50);
    expect([messages.length, isWhole]).toEqual([1, false]);
    expect((await readPart(lines("x"), 1)).messages.length).toBe(1);
  });

  test("with a line that is none is refused whole", async () => {
    await expect(readPart(new Response("{}\n{"), Infinity)).rejects.toThrow();
    expect(await readPart(new Response(""), Infinity)).toEqual({ messages: [], isWhole: true });
  });
});
