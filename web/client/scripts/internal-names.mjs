// The names of properties that only the SDK itself uses: what is published has short ones in their place, as a minifier would
// give them if it knew which are nobody else's. Found in the sources, so that no list has to be kept.
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const source = fileURLToPath(new URL("../src/", import.meta.url));
const libraries = dirname(fileURLToPath(import.meta.resolve("typescript")));

/** Files whose types and classes nobody outside sees. Whatever any other file declares keeps its name. */
const INTERNAL = [
  "driver.ts", "intake.ts", "auto.ts", "machine/commands.ts", "machine/connect.ts", "machine/follow.ts", "machine/inbound.ts", "machine/outbox.ts",
  "machine/participation.ts", "machine/refusals.ts", "machine/replays.ts", "machine/state.ts", "machine/transmit.ts",
];
/** Files that use what others have made (Node, packages, IndexedDB): every name in them is kept. */
const OUTER = [/^store\//, /^fallback\//, /^node\.ts$/, /^stdio-driver\.ts$/, /^ws-transport\.ts$/, /^msgpack\.ts$/, /^protocol\.ts$/];

function* nodesOf(file) {
  const waiting = [ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.ES2022)];
  while (waiting.length > 0) {
    const node = waiting.pop();
    yield node;
    ts.forEachChild(node, (child) => void waiting.push(child));
  }
}

function isMember(node) {
  return ts.isPropertySignature(node) || ts.isMethodSignature(node) || ts.isPropertyDeclaration(node) || ts.isMethodDeclaration(node) || ts.isAccessor(node);
}

/** Every internal name and the short one that stands for it. */
export function internalNames() {
  const found = new Set();
  const kept = new Set();
  const used = new Set();
  for (const file of readdirSync(source, { recursive: true }).filter((name) => name.endsWith(".ts"))) {
    const isOuter = OUTER.some((pattern) => pattern.test(file));
    for (const node of nodesOf(join(source, file))) {
      if (isMember(node) && ts.isIdentifier(node.name)) (INTERNAL.includes(file) ? found : kept).add(node.name.text);
      if (ts.isPropertyAccessExpression(node) || ts.isPropertyAssignment(node) || ts.isShorthandPropertyAssignment(node)) used.add(node.name.text);
      // What is named by a text somewhere keeps its name.
      if (ts.isStringLiteral(node) || (isOuter && ts.isIdentifier(node))) kept.add(node.text);
    }
  }
  for (const file of readdirSync(libraries).filter((name) => /^lib\..*\.d\.ts$/.test(name))) {
    for (const node of nodesOf(join(libraries, file))) if (isMember(node) && ts.isIdentifier(node.name)) kept.add(node.name.text);
  }
  const names = [...found].filter((name) => !kept.has(name)).sort();
  let at = -1;
  return Object.fromEntries(names.map((name) => {
    do at += 1; while (kept.has(shortName(at)) || used.has(shortName(at)));
    return [name, shortName(at)];
  }));
}

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ$_";

/** One letter, then two and so on. */
function shortName(index) {
  const rest = Math.floor(index / LETTERS.length);
  return (rest > 0 ? shortName(rest - 1) : "") + LETTERS[index % LETTERS.length];
}

/** The settings of esbuild that put the short names in. */
export function shortNames() {
  const names = internalNames();
  return { mangleProps: new RegExp(`^(${Object.keys(names).join("|")})$`), mangleCache: names };
}
