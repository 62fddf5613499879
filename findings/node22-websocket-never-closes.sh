#!/usr/bin/env bash
# The built-in WebSocket of Node 22 reports a failed connection by `error` alone:
# no `close` event follows, and readyState stays 0 (CONNECTING).
# Exits 0 while that holds, 1 when the behaviour has changed.
set -euo pipefail

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

npm install --silent --no-audit --no-fund --prefix . node@22.23.3 ws@8.23.0 >/dev/null
NODE=$WORK/node_modules/.bin/node
echo "node $("$NODE" --version) (undici $("$NODE" -p process.versions.undici)), ws 8.23.0"

cat > connect.mjs <<'JS'
import http from "node:http";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket as Ws } from "ws";

const WAIT_MS = 3000;

// Answers every upgrade with 503, as a server that drains would.
const busy = http.createServer();
busy.on("upgrade", (_request, socket) => {
  socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
});
await new Promise((done) => busy.listen(0, "127.0.0.1", done));

// A port that nothing listens on: taken, then freed.
const probe = net.createServer();
await new Promise((done) => probe.listen(0, "127.0.0.1", done));
const closedPort = probe.address().port;
await new Promise((done) => probe.close(done));

async function eventsOf(Client, port) {
  const seen = [];
  const socket = new Client(`ws://127.0.0.1:${port}/`);
  for (const type of ["open", "error", "close"]) {
    socket.addEventListener(type, (e) => seen.push(type === "close" ? `close(${e.code})` : type));
  }
  await sleep(WAIT_MS);
  return `${seen.join(", ")}; readyState ${socket.readyState}`;
}

const cases = [["503", busy.address().port], ["connection refused", closedPort]];
let holds = true;
for (const [cause, port] of cases) {
  const [builtIn, ws] = await Promise.all([eventsOf(WebSocket, port), eventsOf(Ws, port)]);
  console.log(`${cause}, ${WAIT_MS} ms later`);
  console.log(`  built-in: ${builtIn}`);
  console.log(`  ws:       ${ws}`);
  holds &&= builtIn === "error; readyState 0" && ws === "error, close(1006); readyState 3";
}
console.log(holds ? "reproduced" : "CHANGED");
process.exit(holds ? 0 : 1);
JS
timeout 60 "$NODE" connect.mjs
