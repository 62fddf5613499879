#!/usr/bin/env bash
# npm http-proxy 1.18.1 in front of a stream of Server-Sent Events, on Node 20.
# Expected: when the client goes away, the proxy ends its request to the server behind it, which then stops sending.
# What it does: the connection to the server stays open, so each page that is closed or reloaded leaves a stream there until
# the server ends it. (It waits for the event 'aborted' of the request, which Node does not fire once the request was read.)
# http-proxy-3 1.23.3, with the same interface, closes it at once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-fund --no-audit http-proxy@1.18.1 http-proxy-3@1.23.3 >/dev/null 2>&1
cat >stream.mjs <<'JS'
import http from "node:http";
import old from "http-proxy";
import { createProxyServer } from "http-proxy-3";

const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

/** How long after the client's end the server's stream ends, ms; nothing within ten seconds. */
async function endOfStream(createProxy) {
  let ended = null;
  const server = http.createServer((_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const timer = setInterval(() => response.write("data: tick\n\n"), 200);
    response.on("close", () => {
      clearInterval(timer);
      ended ??= Date.now();
    });
  });
  const target = `http://127.0.0.1:${await listen(server)}`;
  const proxy = createProxy({ target });
  proxy.on("error", () => {});
  const front = http.createServer((request, response) => proxy.web(request, response));
  const port = await listen(front);
  const gone = await new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, agent: false }, (response) => {
      response.once("data", () => {
        request.destroy();
        resolve(Date.now());
      });
    });
    request.on("error", reject);
  });
  const until = gone + 10_000;
  while (ended === null && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
  for (const each of [front, server]) {
    each.closeAllConnections();
    each.close();
  }
  return ended === null ? null : ended - gone;
}

const kept = await endOfStream(old.createProxyServer);
const closed = await endOfStream(createProxyServer);
const told = (ms) => (ms === null ? "still open after 10 s" : `ended within ${ms < 1000 ? "a second" : `${ms} ms`}`);
console.log(`Node ${process.version}`);
console.log(`http-proxy 1.18.1: the stream behind it is ${told(kept)}`);
console.log(`http-proxy-3 1.23.3: the stream behind it ${told(closed)}`);
process.exit(kept === null && closed !== null && closed < 1000 ? 0 : 1);
JS
if node stream.mjs; then
    echo "reproduced"
else
    echo "CHANGED"
    exit 1
fi
