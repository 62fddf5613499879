/**
 * Every example of an event that a reader may copy, held against docs/events.schema.json: in the documents, and in the code
 * of the examples. An event of a known type has only fields that the schema knows, since other fields are not shown.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type AnySchemaObject, Ajv2020 } from "ajv/dist/2020.js";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const read = (path: string): string => readFileSync(ROOT + path, "utf8");
const listed = (...patterns: string[]): string[] => execFileSync("git", ["ls-files", "--", ...patterns], { cwd: ROOT, encoding: "utf8" }).split("\n").filter((path) => path !== "");

const DOCUMENTS = listed("*.md");
const EXAMPLES = listed("web/client/examples/*.js", "web/client/examples/*.mjs");

interface EventsSchema {
  oneOf: { $ref?: string; properties: { eventType: { const?: string } } }[];
  $defs: Record<string, { properties: Record<string, unknown>; additionalProperties?: boolean }>;
}

const EVENTS = JSON.parse(read("docs/events.schema.json")) as EventsSchema;
const PROTOCOL = JSON.parse(read("docs/protocol.schema.json")) as AnySchemaObject;

/** Fields of each known type of event. */
const KNOWN = new Map(EVENTS.oneOf.flatMap(({ $ref, properties }) => {
  const [type, def] = [properties.eventType.const, EVENTS.$defs[$ref?.split("/").at(-1) ?? ""]];
  return type === undefined || !def ? [] : [[type, new Set(["eventType", ...Object.keys(def.properties)])] as const];
}));

const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
const [isEvent, isFrame] = [ajv.compile(EVENTS), ajv.compile(PROTOCOL)];
const TYPES: unknown[] = ["test_event", "control_command", "system_message", "heartbeat", "error"];

type Fields = Record<string, unknown>;
const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

/** What is wrong with an event of an example. `isWhole` if every field's value is known. */
function faults(event: Fields, isWhole = true): string[] {
  const type = event.eventType;
  const known = typeof type === "string" ? KNOWN.get(type) : undefined;
  if (!known) return [];
  const strange = Object.keys(event).filter((name) => !known.has(name)).map((name) => `${String(type)} has no field ${name}`);
  // The schema's only demand is the type: what is not known here can be left out.
  return isEvent(event) || !isWhole ? strange : [...strange, ajv.errorsText(isEvent.errors)];
}

/** An example, and where it stands. */
interface Example {
  line: number;
  value: Fields;
  /** Parts were left out of it by an ellipsis. */
  isCut: boolean;
}

/** Where the object that begins at `start` ends; -1 if it does not. */
function endOf(text: string, start: number): number {
  let [depth, isString] = [0, false];
  for (let at = start; at < text.length; at += 1) {
    const char = text[at];
    if (isString) {
      if (char === "\\") at += 1;
      else if (char === '"') isString = false;
      else if (char === "\n") return -1;
    } else if (char === '"') isString = true;
    else if (char === "{" || char === "[") depth += 1;
    else if (char === "}" || char === "]") {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return -1;
}

function parse(text: string): { value: unknown; isCut: boolean } | null {
  // `,…` and `…,` outside of strings leave fields out; `"a":…` leaves out a value.
  const full = text.replaceAll(/("(?:[^"\\\n]|\\.)*")|:\s*…/g, (whole, string?: string) => string ?? (whole.startsWith(":") ? ":null" : whole))
    .replaceAll(/("(?:[^"\\\n]|\\.)*")|,?\s*…\s*(?=[}\]])|…\s*,?|,?\s*…/g, (_whole, string?: string) => string ?? "");
  try {
    return { value: JSON.parse(full), isCut: full !== text };
  } catch {
    return null;
  }
}

/** The objects of JSON in a document, the outermost ones. */
function objectsOf(text: string): Example[] {
  const found: Example[] = [];
  for (let at = text.indexOf("{"); at >= 0; at = text.indexOf("{", at + 1)) {
    const end = endOf(text, at);
    const parsed = end < 0 ? null : parse(text.slice(at, end + 1));
    if (!parsed || !isObject(parsed.value)) continue;
    found.push({ line: text.slice(0, at).split("\n").length, value: parsed.value, isCut: parsed.isCut });
    at = end;
  }
  return found;
}

/** The events in an object, at any depth. */
function eventsIn(value: unknown): Fields[] {
  if (Array.isArray(value)) return value.flatMap(eventsIn);
  if (!isObject(value)) return [];
  return [...("eventType" in value ? [value] : []), ...Object.values(value).flatMap(eventsIn)];
}

/** Events that code makes: the fields that are written there, and whether their values are. */
function eventsOfCode(code: string): { line: number; event: Fields; isWhole: boolean }[] {
  const source = ts.createSourceFile("example.ts", code, ts.ScriptTarget.Latest, true);
  const found: { line: number; event: Fields; isWhole: boolean }[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isObjectLiteralExpression(node)) {
      const event: Fields = {};
      let isWhole = true;
      for (const property of node.properties) {
        const name = property.name && (ts.isIdentifier(property.name) || ts.isStringLiteral(property.name)) ? property.name.text : null;
        const value = ts.isPropertyAssignment(property) ? property.initializer : undefined;
        if (name === null) isWhole = false;
        else if (value && ts.isStringLiteral(value)) event[name] = value.text;
        else if (value && ts.isNumericLiteral(value)) event[name] = Number(value.text);
        else [event[name], isWhole] = [null, false];
      }
      if (typeof event.eventType === "string") found.push({ line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1, event, isWhole });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Code in a document, with the line at which it begins. */
function codeOf(document: string): { line: number; code: string }[] {
  return [...document.matchAll(/^```(?:ts|js|typescript|javascript)\n(.*?)^```/gms)].map((block) => ({ line: document.slice(0, block.index).split("\n").length, code: block[1] ?? "" }));
}

describe("the check itself", () => {
  test("finds a field that is not shown, a wrong value, and an event within an envelope that is cut", () => {
    expect(faults({ eventType: "console_log", text: "hello" })).toEqual(["console_log has no field text"]);
    expect(faults({ eventType: "progress", percent: "50 %" })).toHaveLength(1);
    const [cutOne] = objectsOf('x `{"a":[{"eventType":"console_log","text":"…"},…],"b":…,…}` y');
    expect([cutOne?.isCut, eventsIn(cutOne?.value).flatMap((event) => faults(event))]).toEqual([true, ["console_log has no field text"]]);
    expect(eventsOfCode('publish({ eventType: "console_log", text, ...more })').flatMap(({ event, isWhole }) => faults(event, isWhole))).toEqual(["console_log has no field text"]);
  });

  test("reads the examples that there are", () => {
    expect(DOCUMENTS).toContain("docs/events.md");
    const types = new Set(objectsOf(read("docs/events.md")).map(({ value }) => value.eventType));
    expect([...KNOWN.keys()].filter((type) => !types.has(type))).toEqual([]);
    expect(eventsOfCode(read("web/client/examples/node/publish.mjs"))).toHaveLength(1);
    expect(DOCUMENTS.flatMap((path) => objectsOf(read(path)).flatMap(({ value }) => eventsIn(value))).length).toBeGreaterThan(12);
    expect(wholeMessages("README.md").length).toBeGreaterThan(2);
  });
});

test.each(DOCUMENTS)("%s: its events are such as the dashboard shows", (path) => {
  const document = read(path);
  const wrong = objectsOf(document).flatMap(({ line, value }) => eventsIn(value).flatMap((event) => faults(event)).map((fault) => `${path}:${line}: ${fault}`));
  for (const { line, code } of codeOf(document)) {
    for (const found of eventsOfCode(code)) wrong.push(...faults(found.event, found.isWhole).map((fault) => `${path}:${line + found.line}: ${fault}`));
  }
  expect(wrong).toEqual([]);
});

/** Messages of which nothing was left out. */
const wholeMessages = (path: string): Example[] => objectsOf(read(path)).filter(({ value, isCut }) => !isCut && TYPES.includes(value.type) && "id" in value && "timestamp" in value);

test.each(DOCUMENTS)("%s: its whole messages are such as the protocol takes", (path) => {
  const wrong = wholeMessages(path).flatMap(({ line, value }) => (isFrame(value) ? [] : [`${path}:${line}: ${ajv.errorsText(isFrame.errors).slice(0, 500)}`]));
  expect(wrong).toEqual([]);
});

test.each(EXAMPLES)("%s: its events are such as the dashboard shows", (path) => {
  expect(eventsOfCode(read(path)).flatMap(({ line, event, isWhole }) => faults(event, isWhole).map((fault) => `${path}:${line}: ${fault}`))).toEqual([]);
});
