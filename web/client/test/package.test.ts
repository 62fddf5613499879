/** What is published: packed from the files of the repository alone, installed where there is nothing else, compiled as the README shows it. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Flags that keep npm from asking anybody. */
const QUIET = ["--offline", "--no-audit", "--no-fund", "--loglevel=error"];

let place: string;
let project: string;
let packed: string[];

function run(command: string, args: string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

beforeAll(() => {
  place = mkdtempSync(join(tmpdir(), "agentbench-package-"));
  const checkout = join(place, "checkout");
  for (const file of run("git", ["ls-files", "--cached", "--others", "--exclude-standard"], ROOT).trim().split("\n")) {
    mkdirSync(dirname(join(checkout, file)), { recursive: true });
    cpSync(join(ROOT, file), join(checkout, file));
  }
  // As `npm ci` would leave them.
  symlinkSync(join(ROOT, "node_modules"), join(checkout, "node_modules"));
  run("npm", ["pack", ...QUIET, "--pack-destination", place], checkout);
  const archive = readdirSync(place).find((name) => name.endsWith(".tgz"))!;
  packed = run("tar", ["tzf", archive], place).trim().split("\n").map((name) => name.replace("package/", ""));
  project = join(place, "project");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{ "type": "module", "private": true }');
  run("npm", ["install", ...QUIET, join(place, archive)], project);
}, 300_000);

afterAll(() => rmSync(place, { recursive: true, force: true }));

test("a clean checkout packs all that its exports name, and no sources", () => {
  const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { exports: Record<string, Record<string, string>> };
  const named = Object.values(exports).flatMap((entry) => Object.values(entry)).map((name) => name.replace("./", ""));
  expect(packed).toEqual(expect.arrayContaining([...named, "README.md", "LICENSE"]));
  expect(packed.filter((name) => /^(src|test|scripts)\//.test(name))).toEqual([]);
});

test("nothing else is installed with it", () => {
  expect(readdirSync(join(project, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["@agentbench"]);
});

describe("the first lines of the README", () => {
  const [, code = ""] = /```ts\n([^]*?)```/.exec(readFileSync(join(ROOT, "README.md"), "utf8")) ?? [];

  /** What the compiler says of it; nothing if it is right. */
  function compiled(lines: string): string {
    writeFileSync(join(project, "lines.ts"), `declare const token: string;\n${lines}`);
    const flags = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "lines.ts"];
    return spawnSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), ...flags], { cwd: project, encoding: "utf8" }).stdout;
  }

  test.each(["@agentbench/client", "@agentbench/client/node"])("compile with %s and --strict", (entry) => {
    expect(code).toContain('from "@agentbench/client"');
    expect(compiled(code.replace('"@agentbench/client"', JSON.stringify(entry)))).toBe("");
  });

  test("do not compile where they are wrong", () => {
    expect(compiled(code.replace("outcome.seq", "outcome.sequence"))).toContain("'sequence' does not exist");
  });
});

test("it can be loaded without its optional peers", () => {
  const script = 'const { connect } = await import("@agentbench/client/node"); await connect({ url: "http://h" }).catch(({ kind }) => console.log(kind));';
  expect(run(process.execPath, ["--input-type=module", "--eval", script], project).trim()).toBe("invalid");
});
