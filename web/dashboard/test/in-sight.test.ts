import { expect, test } from "vitest";
import { inSight } from "../src/parts/use-rows-in-sight.js";

test("draws what is in sight and a little more, and keeps room for the rest", () => {
  expect(inSight(10_000, 50, 0, 500)).toEqual({ first: 0, end: 18, above: 0, below: 9982 * 50 });
  expect(inSight(10_000, 50, -250_000, 500)).toEqual({ first: 4992, end: 5018, above: 4992 * 50, below: 4982 * 50 });
});

test.each([0, 1, 7, 10_000])("whatever the place, %i rows have their height", (count) => {
  for (const top of [900, 0, -1, -333, -499_999, -5_000_000]) {
    const { first, end, above, below } = inSight(count, 50, top, 800);
    expect(above + (end - first) * 50 + below).toBe(count * 50);
    expect(end - first).toBeLessThan(40);
    expect(first <= end && first >= 0 && end <= count).toBe(true);
  }
});
