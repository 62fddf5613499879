/** Fields that hold something else than the schema of events says: shown as what they are, with a mark. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { describe as line } from "../src/timeline/describe.js";
import { type Entry, fromMessage } from "../src/timeline/entry.js";
import { FIELDS, type Expected, unreadable } from "../src/timeline/readable.js";

function entry(data: Record<string, unknown>): Entry {
  return fromMessage({ id: "e", type: "test_event", timestamp: 1, receivedAt: 1, seq: 1, data }) as Entry;
}

interface Schema {
  type?: string | string[];
  pattern?: string;
  maximum?: number;
  const?: string;
  $ref?: string;
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  $defs?: Record<string, Schema>;
}

const SCHEMA = JSON.parse(readFileSync(new URL("../../../docs/events.schema.json", import.meta.url), "utf8")) as Schema;

/** Each field of each event that has a schema: its event, its name, its schema. */
const SAID: [string, string, Schema][] = (SCHEMA.oneOf ?? []).flatMap(({ properties, $ref }) => {
  const [event, type] = [properties?.eventType?.const, SCHEMA.$defs?.[$ref?.split("/").at(-1) ?? ""]];
  return event === undefined ? [] : Object.entries(type?.properties ?? {}).map(([name, field]): [string, string, Schema] => [event, name, field]);
});

/** What a field of this schema is read as. */
function expected(name: string, schema: Schema): Expected {
  if (schema.pattern !== undefined) return "hash";
  if (name === "image") return "picture";
  if (schema.maximum === 100) return "percent";
  if (name === "max") return "scale";
  const types = [schema.type ?? []].flat();
  return types.includes("number") || types.includes("integer") ? "number" : types.includes("boolean") ? "flag" : "text";
}

/** Values that each kind of field cannot be read from. */
const WRONG: Record<Expected, unknown[]> = {
  number: ["0.9", "50 %", "NaN", true, [1], { a: 1 }, Infinity],
  percent: ["50 %", "0.5", 100.1, -1, true],
  scale: ["5", 0, -1, [5]],
  text: [7, false, ["a"], { text: "a" }],
  flag: ["true", 1],
  hash: ["0f", "A".repeat(64), 7],
  picture: ["https://example.org/a.png", "data:image/svg+xml;base64,AAAA", 7],
};

/** Values that each kind of field is read from. */
const RIGHT: Record<Expected, unknown> = { number: 1.5, percent: 100, scale: 5, text: "a", flag: true, hash: "a".repeat(64), picture: "data:image/png;base64,AAAA" };

test("every field of the schema is known, as what it is", () => {
  expect(SAID.length).toBeGreaterThan(30);
  for (const [event, name, schema] of SAID) expect([event, name, FIELDS[event]?.[name]]).toEqual([event, name, expected(name, schema)]);
});

describe.each(Object.entries(FIELDS).flatMap(([event, fields]) => Object.entries(fields).map(([name, kind]) => [event, name, kind] as const)))("%s.%s", (event, name, kind) => {
  test.each(WRONG[kind])("with %j is marked, and shows it", (value) => {
    const found = entry({ eventType: event, [name]: value });
    const [mark, ...more] = unreadable(found);
    expect([mark?.field, mark?.expected, more]).toEqual([name, kind, []]);
    const shown = typeof value === "number" ? String(value) : JSON.stringify(value);
    expect(mark?.value).toBe(shown.length > 60 ? `${shown.slice(0, 60)}…` : shown);
    expect(line(found).marks).toHaveLength(1);
    expect(line(found).marks[0]).toContain(mark?.value);
  });

  test("with what it should have, or nothing, has no mark", () => {
    for (const value of [RIGHT[kind], null, undefined]) expect(unreadable(entry({ eventType: event, [name]: value }))).toEqual([]);
  });
});

describe("a line", () => {
  test("never makes a number of what is none", () => {
    expect(line(entry({ eventType: "progress", percent: "50 %" })).title).toBe('"50 %"');
    expect(line(entry({ eventType: "score_update", criterion: "care", score: "0.9" })).detail).toBe('"0.9"');
    expect(line(entry({ eventType: "score_update", criterion: "care", score: "NaN" })).detail).toBe('"NaN"');
    expect(line(entry({ eventType: "network_request", method: "GET", url: "/", status: "503" })).detail).toBe('"503"');
  });

  test.each([...Object.keys(FIELDS), "of_its_own"])("of %s that has only fields of its own shows them", (event) => {
    const { title, detail } = line(entry({ eventType: event, words: "hello there" }));
    expect(`${title} ${detail}`).toContain("hello there");
  });
});
