import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: process.env.PICTURES === "true" ? ["e2e/pictures.ts"] : ["e2e/**/*.test.ts"],
    // A guard against hangs; no test measures time.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Real servers and browsers share few cores.
    fileParallelism: false,
  },
});
