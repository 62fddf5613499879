import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // A guard against hangs; no test measures time.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Real servers and browsers share few cores.
    maxWorkers: 2,
  },
});
