/** What must be fresh, small and whole: generated types, the bundle, the package's entries. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CORE_LIMIT, coreSize } from "../scripts/size.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

test("the types are those of docs/protocol.schema.json", () => {
  const { status, stderr } = spawnSync(process.execPath, ["scripts/generate-types.mjs", "--check"], { cwd: root, encoding: "utf8" });
  expect(stderr).toBe("");
  expect(status).toBe(0);
});

test("the JSON core is small", async () => {
  expect((await coreSize()).gzipped).toBeLessThanOrEqual(CORE_LIMIT);
});

test("the package depends on nothing, and its entries exist", async () => {
  const manifest = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as { dependencies?: unknown; license: string };
  expect(manifest.dependencies).toBeUndefined();
  expect(manifest.license).toBe("MIT");
  for (const entry of ["@agentbench/client", "@agentbench/client/node", "@agentbench/client/machine"]) {
    expect(Object.keys((await import(entry)) as object).length).toBeGreaterThan(0);
  }
});
