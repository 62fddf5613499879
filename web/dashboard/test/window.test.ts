import { describe, expect, test } from "vitest";
import { TALLEST, reveal, scrollTo, windowOf } from "../src/timeline/window.js";

const list = (rows: number, scrollTop = 0) => ({ rows, rowHeight: 30, viewport: 600, scrollTop, overscan: 5 });

describe("the window of a long list", () => {
  test("draws what is seen and a little more", () => {
    expect(windowOf(list(1000, 3000))).toEqual({ first: 95, end: 126, offset: 95 * 30, height: 30_000 });
    expect(windowOf(list(3))).toEqual({ first: 0, end: 3, offset: 0, height: 90 });
    expect(windowOf(list(0)).end).toBe(0);
  });

  test.each([1000, 100_000, 10_000_000])("both ends of %i rows can be reached, and few are drawn", (rows) => {
    const { height } = windowOf(list(rows));
    expect(height).toBeLessThanOrEqual(TALLEST);
    expect(windowOf(list(rows, 0)).first).toBe(0);
    expect(windowOf(list(rows, height)).end).toBe(rows);
    for (let part = 0; part <= 1; part += 0.05) {
      const seen = windowOf(list(rows, height * part));
      expect(seen.end - seen.first).toBeLessThan(40);
    }
  });

  test.each([100, 100_000, 3_000_000])("every row of %i can be brought into sight", (rows) => {
    for (const row of [0, 1, 57, Math.floor(rows / 2), rows - 2, rows - 1]) {
      for (const from of [0, TALLEST / 3, TALLEST]) {
        const scrollTop = reveal(row, list(rows, from));
        const seen = windowOf({ ...list(rows, scrollTop), overscan: 0 });
        expect(row).toBeGreaterThanOrEqual(seen.first);
        expect(row).toBeLessThan(seen.end);
      }
    }
  });

  test("a row in sight is left where it is", () => {
    expect(reveal(105, list(1000, 3000))).toBe(3000);
    expect(scrollTo(100, list(1000))).toBe(3000);
  });
});
