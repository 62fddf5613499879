import { describe, expect, test } from "vitest";
import { ServerClock } from "../src/clock.js";

/** What a server says whose clock is `ahead` ms of the page's: an answer to a question asked at `at`, which took `took` ms. */
function answer(clock: ServerClock, at: number, took: number, ahead: number): void {
  const date = new Date(Math.floor((at + took / 2 + ahead) / 1000) * 1000).toUTCString();
  clock.take(date, at, at + took);
}

const DAY = 86_400_000;

describe("the server's clock", () => {
  test("is not known before the server has answered", () => {
    expect(new ServerClock().offset).toBe(null);
  });

  test.each([0, 7 * 3_600_000, -7 * 3_600_000, 400 * DAY, 123.4])("is known to a second and half of the way, with the page %i ms off", (ahead) => {
    const clock = new ServerClock();
    answer(clock, 1_790_000_000_500, 80, ahead);
    expect(Math.abs((clock.offset ?? Infinity) - ahead)).toBeLessThanOrEqual(540);
  });

  test("is known better with each answer, never worse", () => {
    const [clock, ahead] = [new ServerClock(), 25_200_321];
    let worst = Infinity;
    for (let at = 0; at < 60; at += 1) {
      answer(clock, 1_790_000_000_000 + at * 1137, 20 + (at % 7) * 50, ahead);
      const off = Math.abs((clock.offset ?? Infinity) - ahead);
      expect(off).toBeLessThanOrEqual(Math.max(worst, 520));
      worst = Math.min(worst, off);
    }
    expect(Math.abs((clock.offset ?? Infinity) - ahead)).toBeLessThan(60);
  });

  test("is learned anew when one of the two was set", () => {
    const clock = new ServerClock();
    for (let at = 0; at < 20; at += 1) answer(clock, 1_790_000_000_000 + at * 1137, 20, 0);
    answer(clock, 1_790_000_100_000, 20, -3_600_000);
    expect(Math.abs((clock.offset ?? Infinity) + 3_600_000)).toBeLessThan(520);
  });

  test.each([null, "", "yesterday", "Tue, 99 Foo 2026 25:61:61 GMT"])("a date of %j says nothing", (date) => {
    const clock = new ServerClock();
    clock.take(date, 1000, 1010);
    expect(clock.offset).toBe(null);
  });

  test("an answer that came before its question says nothing", () => {
    const clock = new ServerClock();
    clock.take(new Date(5000).toUTCString(), 9000, 1000);
    expect(clock.offset).toBe(null);
  });
});
