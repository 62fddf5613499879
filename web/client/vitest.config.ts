import { fileURLToPath } from "node:url";
import { type Plugin, defineConfig } from "vitest/config";

/** With `--mode dist` tests of sources run on what is published, where internal names are short. */
const published: Plugin = {
  name: "published",
  enforce: "pre",
  resolveId: (name) => {
    const [, file] = /^(?:\.\.\/)+src\/(.*\.js)$/.exec(name) ?? [];
    return file === undefined ? null : fileURLToPath(new URL(`dist/${file}`, import.meta.url));
  },
};

export default defineConfig(({ mode }) => ({
  plugins: mode === "dist" ? [published] : [],
  test: {
    include: ["test/**/*.test.ts"],
    // A guard against hangs; no test measures time.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Real servers and browsers share few cores.
    maxWorkers: 2,
  },
}));
