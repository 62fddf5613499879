/** The published core with the built-in WebSocket of other platforms than browsers. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const DENO = process.env.DENO_PATH ?? at("../node_modules/.bin/deno");

const platforms: [string, string, string[]][] = [["Deno", DENO, ["run", "--quiet", "--allow-all"]]];
// Node has one of its own from version 22 on.
if ("WebSocket" in globalThis) platforms.push([`Node ${process.version}`, process.execPath, ["--no-warnings"]]);

describe.each(platforms)("%s", (_, command, flags) => {
  test("notices failed and cut connections, has no code for them, and ends when the client is closed", async () => {
    expect(existsSync(command), `no ${command}: npm ci, or set DENO_PATH`).toBe(true);
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "agentbench.v1.json" });
    await once(server, "listening");
    server.on("connection", (socket) => {
      const greeting = { type: "connection_established", clientId: "c1", maxPayload: 1000, heartbeatInterval: 30_000, tokenExpiresAt: null };
      socket.send(JSON.stringify({ id: "m1", type: "system_message", timestamp: 1, data: greeting }), () => socket.terminate());
    });
    const { port } = server.address() as AddressInfo;
    const child = spawn(command, [...flags, at("support/elsewhere.mjs"), at("../dist/index.js"), `ws://127.0.0.1:${port}`], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (part: Buffer) => (output += part.toString()));
    const [code] = (await once(child, "close")) as [number];
    server.close();
    expect(output.trim().split("\n").map((line) => JSON.parse(line) as unknown)).toEqual([
      { unreachable: "connect" }, { connected: "c1" }, { disconnected: null }, { state: "ended" },
    ]);
    expect(code).toBe(0);
  });
});
