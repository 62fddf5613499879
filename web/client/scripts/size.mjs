// Prints what the SDK weighs in a page: bundled, minified, gzipped. `coreSize` is what the test holds to the limit.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { shortNames } from "./short-names.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

const plugins = [shortNames()];

async function sizeOf(contents) {
  const result = await build({
    stdin: { contents, resolveDir: root, loader: "ts" },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    target: "es2022",
    outdir: "out",
    // What is imported on demand (MessagePack) goes into files of its own, which are not counted.
    splitting: true,
    // As the build puts them into what is published.
    plugins,
  });
  const needed = new Set();
  const visit = (name) => {
    if (needed.has(name)) return;
    needed.add(name);
    for (const { path, kind } of result.metafile.outputs[name].imports) if (kind === "import-statement") visit(path);
  };
  visit("out/stdin.js");
  const code = result.outputFiles.filter(({ path }) => needed.has(`out/${path.split("/").at(-1)}`)).map((file) => file.text).join("\n");
  return { minified: Buffer.byteLength(code), gzipped: gzipSync(code, { level: 9 }).length };
}

/** Most bytes of the JSON core, gzipped. */
export const CORE_LIMIT = 12_900;

/** The JSON core: all that a page needs to publish and follow. */
export function coreSize() {
  return sizeOf('export { connect, open, ClientError } from "./src/index.ts";');
}

/** Everything that the main entry exports, the durable outbox in IndexedDB included. */
export function wholeSize() {
  return sizeOf('export * from "./src/index.ts";');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const show = (name, { minified, gzipped }) => console.log(`${name.padEnd(24)} ${minified} bytes minified, ${gzipped} gzipped`);
  const core = await coreSize();
  show("JSON core", core);
  show("with durable outbox", await wholeSize());
  if (core.gzipped > CORE_LIMIT) {
    console.error(`the JSON core has ${core.gzipped} bytes gzipped, and the limit is ${CORE_LIMIT}: see "Size" in docs/sdk-typescript.md`);
    process.exit(1);
  }
}
