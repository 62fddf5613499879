// Makes the extension in ./built: the SDK, and the package @noble/hashes that its evidence needs, go into the worker's file, since a
// worker has no packages. That is JavaScript alone: Chrome's policy for extensions as it is (`script-src 'self'`) allows it.
import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
rmSync(`${here}built`, { recursive: true, force: true });
for (const name of ["manifest.json", "content.js", "options.html", "options.js"]) cpSync(here + name, `${here}built/${name}`);
await build({
  entryPoints: [`${here}background.js`],
  outfile: `${here}built/background.js`,
  bundle: true,
  format: "esm",
  target: "chrome116",
  // Only for format "msgpack", which this extension does not use.
  external: ["@msgpack/msgpack"],
  logLevel: "warning",
});
