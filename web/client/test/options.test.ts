/** Options that make no sense are refused before anything is tried with them. */
import { describe, expect, test } from "vitest";
import type { ConnectOptions } from "../src/config.js";
import { checkOptions } from "../src/config.js";
import { connect, open } from "../src/connect.js";
import { LONGEST_TIMER } from "../src/machine/settings.js";

const base: ConnectOptions = { url: "ws://127.0.0.1:1" };

/** The options that are times, and the least that each may be. */
const TIMES: [string, number][] = [
  ["connectTimeout", 1], ["commandTimeout", 1], ["ackTimeout", 1], ["heartbeatInterval", 1], ["silenceTimeout", 1], ["closeTimeout", 0], ["webSocketRetry", 100],
  ["backoff.base", 0], ["backoff.max", 0],
];
/** The options that are counts or may be without end. */
const COUNTS: [string, number][] = [
  ["connectPatience", 0], ["publishRetries", 0], ["outboxMessages", 1], ["outboxBytes", 1], ["inFlight", 1], ["followBuffer", 1], ["backoff.attempts", 1],
];
const NULLABLE = ["ackTimeout", "heartbeatInterval", "publishRetries", "backoff.attempts"];

function withOption(name: string, value: unknown): ConnectOptions {
  const [first = "", second] = name.split(".");
  return { ...base, [first]: second === undefined ? value : { [second]: value } };
}

describe.each([...TIMES, ...COUNTS])("%s, at least %d", (name, least) => {
  const most = TIMES.some(([time]) => time === name) ? LONGEST_TIMER : Infinity;

  test.each([-1, least - 0.5, -Infinity, NaN, "5", true, ...(most === Infinity ? [] : [2 ** 31, 1e300, Infinity])])("%s is refused", async (value) => {
    const options = withOption(name, value);
    await expect(open(options)).rejects.toMatchObject({ kind: "invalid", message: expect.stringContaining(name.split(".").at(-1)!) as string });
    await expect(connect(options)).rejects.toMatchObject({ kind: "invalid" });
  });

  test("its bounds and the default are taken", () => {
    for (const value of [least, most, undefined]) expect(() => checkOptions(withOption(name, value))).not.toThrow();
  });

  test(`null is ${NULLABLE.includes(name) ? "taken" : "refused"}`, () => {
    const check = expect(() => checkOptions(withOption(name, null)));
    if (NULLABLE.includes(name)) check.not.toThrow();
    else check.toThrow(/must be a number/);
  });
});

describe("the address", () => {
  test.each(["http://h", "h:3001", "", "ws:", "ws://", "wss://[", "ws://h:99999", "javascript:1", "//h"])("%s is refused", async (url) => {
    await expect(open({ ...base, url })).rejects.toMatchObject({ kind: "invalid", message: expect.stringContaining("ws://") as string });
  });

  test.each(["ws://h", "WS://H:3001/ws", "Wss://h/a?b=c", "ws://h/#part", "ws://[::1]:3001"])("%s is taken", (url) => {
    expect(() => checkOptions({ ...base, url })).not.toThrow();
  });
});

test.each(["", "a b", "a\u0000", "\ud83d", "x".repeat(129)])("the producer id %j is refused", async (producerId) => {
  await expect(open({ ...base, producerId })).rejects.toMatchObject({ kind: "invalid", message: expect.stringContaining("visible") as string });
});
