// Makes src/protocol.ts from docs/protocol.schema.json, which is made from the server's code.
//
//   node scripts/generate-types.mjs           writes the file
//   node scripts/generate-types.mjs --check   exits with 1 if it is stale
//
// Knows exactly the words of JSON Schema that the file uses and stops at any other, so nothing is left out in silence.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const SCHEMA = new URL("../../../docs/protocol.schema.json", import.meta.url);
const TARGET = new URL("../src/protocol.ts", import.meta.url);

const NOT_TYPES = ["$schema", "title", "description", "default", "format", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "$defs"];

/** Fields whose type the schema leaves out, since the server writes them by hand; docs/protocol.md says what they are. */
const UNTYPED = { "The position after which delivery begins.": "Position" };
const POSITION = `/** How far a reader has come, on which history. */
export interface Position {
  /** The life of the log that the seq counts in. */
  epoch: string;
  /** The last seq that the reader has. */
  seq: number;
  /** Id of the event at that seq, if it is known. */
  lastId?: string | null;
}
`;

function checkWords(schema, known) {
  for (const word of Object.keys(schema)) {
    if (!known.includes(word) && !NOT_TYPES.includes(word)) {
      throw new Error(`the schema uses "${word}", which this script does not know: ${JSON.stringify(schema).slice(0, 200)}`);
    }
  }
}

function doc(text, indent) {
  if (!text) return "";
  const lines = text.split("\n").map((line) => line.trimEnd());
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}\n`).join("")}${indent} */\n`;
}

function objectType(schema, indent) {
  const required = new Set(schema.required ?? []);
  const inner = `${indent}  `;
  const fields = Object.entries(schema.properties).map(([name, field]) => {
    const mark = required.has(name) ? "" : "?";
    return `${doc(field.description, inner)}${inner}${name}${mark}: ${typeOf(field, inner)};\n`;
  });
  return `{\n${fields.join("")}${indent}}`;
}

function named(type, schema, indent) {
  switch (type) {
    case "string": return "string";
    case "integer":
    case "number": return "number";
    case "boolean": return "boolean";
    case "null": return "null";
    case "array":
      if (schema.prefixItems) return `[${schema.prefixItems.map((item) => typeOf(item, indent)).join(", ")}]`;
      return `${schema.items === true ? "unknown" : typeOf(schema.items, indent)}[]`;
    case "object": return schema.properties ? objectType(schema, indent) : "Record<string, unknown>";
    default: throw new Error(`no such type: ${JSON.stringify(schema).slice(0, 200)}`);
  }
}

function typeOf(schema, indent) {
  checkWords(schema, ["type", "const", "oneOf", "anyOf", "$ref", "properties", "required", "items", "prefixItems", "additionalProperties"]);
  if (schema.$ref) {
    const name = schema.$ref.replace("#/$defs/", "");
    return schema.properties ? `${name} & ${objectType(schema, indent)}` : name;
  }
  if (schema.type === undefined && UNTYPED[schema.description]) return UNTYPED[schema.description];
  if ("const" in schema) return JSON.stringify(schema.const);
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return several.map((one) => typeOf(one, indent)).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.map((type) => named(type, schema, indent)).join(" | ");
  return named(schema.type, schema, indent);
}

function declaration(name, schema) {
  const about = schema.oneOf
    ? [schema.description, "", ...schema.oneOf.filter((one) => "const" in one).map((one) => `- \`${one.const}\`: ${one.description}`)].join("\n").trim()
    : schema.description;
  if (schema.properties && !schema.$ref) return `${doc(about, "")}export interface ${name} ${objectType(schema, "")}\n`;
  const several = schema.oneOf;
  if (several) {
    const members = several.map((one) => `${"const" in one ? "" : doc(one.description, "  ")}  | ${typeOf(one, "  ")}`);
    return `${doc(about, "")}export type ${name} =\n${members.join("\n")};\n`;
  }
  return `${doc(about, "")}export type ${name} = ${typeOf(schema, "")};\n`;
}

function generate() {
  const root = JSON.parse(readFileSync(SCHEMA, "utf8"));
  const all = new Map();
  const gather = (defs) => {
    for (const [name, schema] of Object.entries(defs)) {
      if (!all.has(name)) all.set(name, schema);
      gather(schema.$defs ?? {});
    }
  };
  gather(root.$defs);
  const names = [...all.keys()].sort();
  const head = "// Made from docs/protocol.schema.json by scripts/generate-types.mjs: change it there.\n";
  return `${head}\n${POSITION}\n${names.map((name) => declaration(name, all.get(name))).join("\n")}`;
}

const made = generate();
if (process.argv.includes("--check")) {
  const there = readFileSync(TARGET, "utf8");
  if (there !== made) {
    console.error(`${fileURLToPath(TARGET)} is stale: run "npm run generate" in web/client`);
    process.exit(1);
  }
} else {
  writeFileSync(TARGET, made);
}
