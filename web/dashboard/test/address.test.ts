import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { addressOf, socketAddress } from "../src/address.js";

test.each([
  ["http://host:3001/", "http://host:3001/api/v1/stats", "ws://host:3001/ws"],
  ["http://host/#/sessions/x", "http://host/api/v1/stats", "ws://host/ws"],
  ["https://host/bench/", "https://host/bench/api/v1/stats", "wss://host/bench/ws"],
  ["https://host/bench/index.html?a=/b/#token=x/y", "https://host/bench/api/v1/stats", "wss://host/bench/ws"],
  ["https://host/a/b/", "https://host/a/b/api/v1/stats", "wss://host/a/b/ws"],
])("below %s", (page, api, socket) => {
  expect([addressOf("api/v1/stats", page), socketAddress(page)]).toEqual([api, socket]);
});

test("no address of the pages begins at the root of the host", () => {
  const folder = new URL("../src/", import.meta.url);
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.tsx?$/.test(name));
  expect(files.length).toBeGreaterThan(50);
  const rooted = files.flatMap((name) => [...readFileSync(new URL(name, folder), "utf8").matchAll(/["'`]\/(api|ws|healthz|assets|favicon)\b[^"'`]*/g)].map(([address]) => `${name}: ${address}`));
  expect(rooted).toEqual([]);
});
