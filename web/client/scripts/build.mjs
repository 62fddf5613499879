// Makes dist from src: types by the compiler, code by esbuild with short names in the place of internal ones.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { shortened } from "./short-names.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(join(root, "dist"), { recursive: true, force: true });
const compiler = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
const { status } = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

const tsconfigRaw = { compilerOptions: { target: "ES2022", verbatimModuleSyntax: true } };
for (const [source, text] of shortened()) {
  const target = join(root, "dist", relative(join(root, "src"), source)).replace(/\.ts$/, ".js");
  const { code, map } = transformSync(text, { loader: "ts", format: "esm", target: "es2022", sourcemap: "external", tsconfigRaw });
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, `${code}//# sourceMappingURL=${basename(target)}.map\n`);
  // Renaming changes no lines, so the map leads to those of the real source.
  const described = { ...JSON.parse(map), file: basename(target), sources: [relative(dirname(target), source)], sourcesContent: [readFileSync(source, "utf8")] };
  writeFileSync(`${target}.map`, JSON.stringify(described));
}
