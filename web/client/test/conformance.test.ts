/** The cases of conformance/client: what every client of the protocol decides in the same situation. */
import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Case, runCase } from "./support/case-runner.js";

const FOLDER = new URL("../../../conformance/client/", import.meta.url);
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));

test("there are cases", () => {
  expect(files.length).toBeGreaterThan(0);
});

describe.each(files)("%s", (name) => {
  const cases = JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as Case[];
  // This client has whatever a case may need.
  test.each(cases.map((example) => [example.title, example] as const))("%s", (_, example) => {
    runCase(example);
  });
});
