import { describe, expect, test, vi } from "vitest";

// The drawing itself needs a page: e2e/widths.test.ts.
vi.mock("uplot", () => ({ default: {} }));
vi.mock("../src/theme.js", () => ({ colours: { value: 0 } }));

const { distinct, timeRange } = await import("../src/plots/Plot.js");

describe("the axis of time", () => {
  test.each([[100, 100, [90, 100]], [100, 101, [91, 101]], [100, 110, [100, 110]], [0, 600, [0, 600]]])("from %i to %i has room for labels that differ", (min, max, wanted) => {
    expect(timeRange(min, max)).toEqual(wanted);
  });

  test("without readings has none", () => {
    expect(timeRange(undefined, undefined)).toEqual([null, null]);
  });
});

test("no label stands beside itself", () => {
  expect(distinct(["a", "a", "b", "b", "b", "a"])).toEqual(["a", "", "b", "", "", "a"]);
});
