import { describe, expect, test } from "vitest";
import { en } from "../src/text/en.js";
import { zh } from "../src/text/zh.js";
import { bytes, cut, moment, oneLine, plain, threeDigits } from "../src/text/format.js";
import { LANGUAGES, type Language, choose, fill, language, localeOf } from "../src/text/index.js";
import { latency, span } from "../src/text/span.js";

const holes = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(([hole]) => hole).sort();

describe("texts", () => {
  test("all languages have the same texts with the same values in them", () => {
    expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
    for (const [key, text] of Object.entries(en)) expect([key, holes(zh[key as keyof typeof en])]).toEqual([key, holes(text)]);
    for (const text of Object.values(zh)) expect(text.trim()).not.toBe("");
  });

  test("the browser's first language that we have", () => {
    expect([choose(["fr", "zh-TW", "en"]), choose(["fr"]), choose([]), choose(["constructor"])]).toEqual(["zh", "en", "en", "en"]);
  });

  test("numbers and dates as in the reader's country, where the browser names it", () => {
    expect(localeOf("en", ["zh-TW", "en-GB", "en-US"])).toBe("en-GB");
    expect([localeOf("zh", ["en-GB"]), localeOf("en", []), localeOf("en", ["en-US@posix"])]).toEqual(["zh", "en", "en"]);
    const noon = new Date(2026, 10, 28, 12).getTime();
    expect(moment(noon, localeOf("en", ["en-GB"]))).toBe("28 Nov 2026, 12:00:00");
  });

  test("values are put in as they are", () => {
    expect(fill("{a} and {b}, not {c}", { a: "{b}", b: 2 })).toBe("{b} and 2, not {c}");
  });
});

const SPANS = [0, 850, 4200, 185_000, 7_440_000, 266_400_000];

describe("formats", () => {
  test("sizes, spans, numbers", () => {
    expect([0, 999, 1536, 12_345_678].map(bytes)).toEqual(["0 B", "999 B", "1.54 kB", "12.3 MB"]);
    expect(SPANS.map(span)).toEqual(["0 ms", "850 ms", "4.2 s", "3 min 5 s", "2 h 4 min", "3 d 2 h"]);
    expect([0, 0.1234, 1.234, 12.34, 1234].map(threeDigits)).toEqual(["0", "0.12", "1.23", "12.3", "1234"]);
  });

  test.each(Object.keys(LANGUAGES).filter((name) => name !== "en"))("spans are in the reader's language: %s", (name) => {
    language.value = name as Language;
    try {
      for (const shown of [...SPANS.map(span), latency(1.5)]) expect(shown).not.toMatch(/[a-z]/i);
    } finally {
      language.value = "en";
    }
  });

  test("numbers of an axis have no zeros that say nothing", () => {
    expect(["2.00/s", "0.50 ms", "75.0 %", "100 %", "0 B", "1.25 GB", "10.5", "20,000"].map(plain)).toEqual(["2/s", "0.5 ms", "75 %", "100 %", "0 B", "1.25 GB", "10.5", "20,000"]);
  });

  test("text for one line cannot turn its neighbours around or break the line", () => {
    expect(oneLine("a\n\tb\u202Ec\u0000")).toBe("a b·c ");
    expect(oneLine("x".repeat(1000)).length).toBe(301);
    expect(cut("ab😀", 3)).toBe("ab…");
  });
});
