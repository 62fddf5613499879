import { describe, expect, test } from "vitest";
import { newest, scales, scores } from "../src/timeline/derive.js";
import { type Entry, fromMessage } from "../src/timeline/entry.js";

function given(seq: number, user: string, data: Record<string, unknown>): Entry {
  const sender = { clientId: `c${seq}`, userId: user, username: user === "u-1" || user === "u-2" ? "Kim" : user, role: "" };
  return fromMessage({ id: `e${seq}`, type: "test_event", timestamp: seq * 1000, receivedAt: seq * 1000, seq, sender, data: { eventType: "score_update", ...data } }) as Entry;
}

const CARE = [
  given(1, "judge", { criterion: "care", score: 0.88 }),
  given(2, "rita", { criterion: "care", score: 3, max: 5 }),
  given(3, "judge", { criterion: "care", score: 0.86 }),
];

describe("scores", () => {
  test("the newest of each author and criterion counts, and stands for nobody else", () => {
    expect(newest(scores(CARE)).map(({ author, score, max }) => [author, score, max])).toEqual([["judge", 0.86, 1], ["rita", 3, 5]]);
  });

  test("of one criterion stand together, however they were mixed with others", () => {
    const all = scores([...CARE, given(4, "judge", { criterion: "honesty", score: 1 }), given(5, "ann", { criterion: "care", score: 0.1 })]);
    expect(newest(all).map(({ author, criterion }) => `${criterion} ${author}`)).toEqual(["care judge", "care rita", "care ann", "honesty judge"]);
  });

  test("authors are told apart by their ids, also where their names are the same, or names and criteria run into each other", () => {
    const all = scores([given(1, "u-1", { criterion: "a", score: 0.1 }), given(2, "u-2", { criterion: "a", score: 0.2 }), given(3, "a", { criterion: "b c", score: 0.3 }), given(4, "a b", { criterion: "c", score: 0.4 })]);
    expect(newest(all).map(({ score }) => score)).toEqual([0.1, 0.2, 0.3, 0.4]);
    expect(scales(all)[0]?.lines).toHaveLength(4);
  });

  test("of different scales are not drawn on one axis, also of one author", () => {
    const all = scores([...CARE, given(4, "judge", { criterion: "care", score: 4, max: 5 })]);
    expect(scales(all).map(({ max, lines }) => [max, lines.map(({ author, given }) => [author, given.map(({ score }) => score)])])).toEqual([
      [1, [["judge", [0.88, 0.86]]]],
      [5, [["rita", [3]], ["judge", [4]]]],
    ]);
  });

  test("no line joins two authors or two criteria", () => {
    const people = ["judge", "rita", "ann"];
    const entries = Array.from({ length: 60 }, (_, at) => given(at + 1, people[at % 3]!, { criterion: ["care", "honesty"][at % 2], score: at / 60, max: at % 5 === 0 ? 5 : 1 }));
    const lines = scales(scores(entries)).flatMap(({ max, lines }) => lines.map((line) => ({ max, ...line })));
    expect(lines).toHaveLength(12);
    for (const line of lines) expect(new Set(line.given.map((one) => `${one.authorId} ${one.criterion} ${one.max}`)).size).toBe(1);
    expect(lines.flatMap(({ given }) => given)).toHaveLength(60);
  });

  test("what cannot be read as a score is not drawn, and counts as what it is", () => {
    const all = scores([...CARE, given(4, "judge", { criterion: "care", score: "0.9" }), given(5, "rita", { criterion: "care", score: 3, max: 0 }), given(6, "ann", { criterion: "care" })]);
    expect(newest(all).map(({ author, score, said }) => [author, score, said])).toEqual([["judge", null, '"0.9"'], ["rita", null, "3 / 0"], ["ann", null, "–"]]);
    expect(scales(all).flatMap(({ lines }) => lines.flatMap(({ given }) => given))).toHaveLength(3);
  });
});
