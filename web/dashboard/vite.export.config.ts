/** The template of an exported session: one file that needs no server, with its script and style inside. */
import { defineConfig } from "vite";
import { oneFile } from "./build/one-file.js";
import { alias } from "./vite.config.js";

export default defineConfig({
  resolve: { alias },
  plugins: [oneFile()],
  publicDir: false,
  build: {
    target: "es2022",
    emptyOutDir: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: { input: "export.html", output: { codeSplitting: false } },
  },
});
