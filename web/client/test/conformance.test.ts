/** The cases of conformance/client: what every client of the protocol decides in the same situation. */
import { readFileSync, readdirSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { type Case, runCase } from "./support/case-runner.js";

const ROOT = new URL("../../../conformance/", import.meta.url);
const FOLDER = new URL("client/", ROOT);
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));

function read(name: string, folder = FOLDER): unknown {
  return JSON.parse(readFileSync(new URL(name, folder), "utf8"));
}

test("there are cases", () => {
  expect(files.length).toBeGreaterThan(0);
});

describe("the schema of the cases", () => {
  const validate = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false, allErrors: true }).compile(read("cases.schema.json", ROOT) as object);

  test.each(files)("%s has no field that it does not name", (name) => {
    validate(read(name));
    expect(validate.errors?.filter(({ keyword }) => keyword !== "oneOf").slice(0, 5) ?? []).toEqual([]);
    expect(validate.errors).toBeNull();
  });

  test.each<[string, (steps: Record<string, unknown>[]) => void]>([
    ["an unknown input", (steps) => steps.push({ sleep: 5 })],
    ["two inputs at once", (steps) => steps.push({ elapse: 5, start: true })],
    ["outputs alone", (steps) => steps.push({ actions: ["connect"] })],
    ["a misspelt output", (steps) => steps.push({ elapse: 5, tell: [] })],
    ["a misspelt field of an input", (steps) => steps.push({ http: { status: 503, retryAfterMs: 5 } })],
    ["a misspelt field of a message", (steps) => steps.push({ refuse: { code: "overloaded", retryAfter: 5 } })],
    ["a code that does not exist", (steps) => steps.push({ refuse: { code: "malformed" } })],
    ["a misspelt field of what is told", (steps) => steps.push({ elapse: 5, told: [{ published: 1, state: "stored" }] })],
    ["a kind that does not exist", (steps) => steps.push({ elapse: 5, told: [{ connection: "reconnected" }] })],
    ["a misspelt bound", (steps) => steps.push({ elapse: 5, told: [{ connection: "reconnecting", after: { most: 5 } }] })],
    ["a misspelt field of what is sent", (steps) => steps.push({ elapse: 5, sent: [{ metadata: { retries: 1 } }] })],
  ])("refuses %s", (_, spoil) => {
    const steps: Record<string, unknown>[] = [{ start: true, actions: ["connect"] }];
    const cases = [{ title: "t", begin: "new", steps }];
    expect(validate(cases)).toBe(true);
    spoil(steps);
    expect(validate(cases)).toBe(false);
  });

  test("refuses settings that no client has", () => {
    const change = (settings: object): unknown => [{ title: "t", begin: "new", settings, steps: [{ start: true }] }];
    expect(validate(change({ backoff: { base: 1, max: 2 } }))).toBe(true);
    expect(validate(change({ backoff: { base: 1, most: 2 } }))).toBe(false);
    expect(validate(change({ ackTimeoutMs: 1 }))).toBe(false);
  });
});

describe.each(files)("%s", (name) => {
  const cases = read(name) as Case[];
  // This client has whatever a case may need.
  test.each(cases.map((example) => [example.title, example] as const))("%s", (_, example) => {
    runCase(example);
  });
});
