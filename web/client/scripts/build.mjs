// Compiles src into dist, and puts short names in the place of internal ones there.
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { shortNames } from "./internal-names.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}/dist`, { recursive: true, force: true });
const compiler = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
const { status } = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

const names = shortNames();
for (const file of readdirSync(`${root}/dist`, { recursive: true }).filter((name) => name.endsWith(".js"))) {
  const path = `${root}/dist/${file}`;
  const inline = readFileSync(`${path}.map`).toString("base64");
  const written = readFileSync(path, "utf8").replace(/\/\/# sourceMappingURL=.*\s*$/, `//# sourceMappingURL=data:application/json;base64,${inline}\n`);
  const { code, map } = transformSync(written, { ...names, format: "esm", target: "es2022", sourcemap: "external", sourcefile: path, legalComments: "inline" });
  writeFileSync(path, `${code}//# sourceMappingURL=${file.split("/").at(-1)}.map\n`);
  writeFileSync(`${path}.map`, map);
}
