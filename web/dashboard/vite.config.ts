/** The pages that the server serves: index.html and its assets, with hashes in their names. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The SDK comes from its sources, so that nothing has to be built first. */
export const alias = {
  "@agentbench/client": here("../client/src/index.ts"),
  "@msgpack/msgpack": here("./src/live/no-msgpack.ts"),
};

/** The server that `npm run dev` shows. */
const server = process.env.AGENTBENCH_HTTP ?? "http://127.0.0.1:3001";

export default defineConfig({
  // Relative addresses, so that the pages also work below a path of a proxy.
  base: "./",
  resolve: { alias },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false },
  server: { proxy: { "/api": server, "/healthz": server, "/ws": { target: server, ws: true } }, fs: { allow: [here("..")] } },
});
