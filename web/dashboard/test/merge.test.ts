import { expect, test } from "vitest";
import type { SessionInfo } from "../src/api/types.js";
import { merge } from "../src/views/use-sessions.js";

const listed = (...names: string[]): SessionInfo[] => names.map((sessionId, index) => ({ sessionId, createdAt: 100 + (index % 3) }) as SessionInfo);
const names = (sessions: SessionInfo[]): string[] => sessions.map(({ sessionId }) => sessionId);

test("fresh sessions take the place of the old ones, and those further down stay", () => {
  expect(names(merge(listed("c", "b"), listed("c", "b", "a", "0"), false))).toEqual(["c", "b", "a", "0"]);
  expect(names(merge(listed("new", "c"), listed("c", "b", "a"), false))).toEqual(["new", "c", "b", "a"]);
});

test("one that is gone from the first ones is gone; so is what a whole list does not have", () => {
  expect(names(merge(listed("c", "a"), listed("c", "b", "a", "0"), false))).toEqual(["c", "a", "0"]);
  expect(names(merge(listed("c"), listed("c", "b"), true))).toEqual(["c"]);
});

test("so many new ones that no old one is among them", () => {
  expect(names(merge(listed("e", "d"), listed("c", "b"), false))).toEqual(["e", "d", "c", "b"]);
});
