#!/usr/bin/env bash
# npm @microsoft/fetch-event-source 2.0.1 (on Node 20, with `window` and `document` as it needs them) at the two ends of a
# stream of Server-Sent Events.
# Expected, as EventSource in the HTML standard and npm eventsource 4.1.1 and eventsource-client 1.2.0 do: a response that ends
# is opened again with Last-Event-ID, so that a restart of the server loses nothing; an answer of 204 is the last request.
# What it does: the reverse. A response that ends, even inside of an event, resolves the promise and nothing is asked again; an
# answer of 204 is asked again each second without end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-fund --no-audit \
    @microsoft/fetch-event-source@2.0.1 eventsource@4.1.1 eventsource-client@1.2.0 >/dev/null 2>&1
cat >ends.mjs <<'JS'
import http from "node:http";

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const { EventSource } = await import("eventsource");
const { createEventSource } = await import("eventsource-client");

/** Each client follows an address until its function is called. */
const clients = {
  "fetch-event-source 2.0.1": (url) => {
    const controller = new AbortController();
    void fetchEventSource(url, { signal: controller.signal, openWhenHidden: true, onmessage() {} });
    return () => controller.abort();
  },
  "eventsource 4.1.1": (url) => {
    const source = new EventSource(url);
    return () => source.close();
  },
  "eventsource-client 1.2.0": (url) => {
    const source = createEventSource({ url });
    return () => source.close();
  },
};

/** The Last-Event-ID of each request within five seconds, from a server that gives these answers in turn, the last one for ever. */
async function requests(follow, answers) {
  const positions = [];
  const server = http.createServer((request, response) => {
    positions.push(request.headers["last-event-id"] ?? "none");
    const answer = answers[Math.min(positions.length, answers.length) - 1];
    if (answer === 204) return void response.writeHead(204).end();
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(answer);
    setTimeout(() => response.end(), 100);
  });
  const port = await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
  const stop = follow(`http://127.0.0.1:${port}/`);
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  stop();
  server.closeAllConnections();
  server.close();
  return positions.join(" ");
}

const first = "retry: 300\nid: 1\ndata: one\n\nid: 2\ndata: tw";
const found = {};
console.log(`Node ${process.version}`);
for (const [name, follow] of Object.entries(clients)) {
  const ended = await requests(follow, [first, "id: 2\ndata: two\n\n", 204]);
  const over = await requests(follow, [204]);
  found[name] = { ended, over };
  console.log(`${name}: after a response that ended inside an event, Last-Event-ID of all requests: ${ended}; requests for a 204: ${over.split(" ").length}`);
}
const { "fetch-event-source 2.0.1": reversed, ...others } = found;
const isAsBefore = reversed.ended === "none" && reversed.over.split(" ").length >= 4;
const othersFollowTheStandard = Object.values(others).every(({ ended, over }) => ended === "none 1 2" && over === "none");
process.exit(isAsBefore && othersFollowTheStandard ? 0 : 1);
JS
if node ends.mjs; then
    echo "reproduced"
else
    echo "CHANGED"
    exit 1
fi
