#!/usr/bin/env bash
# httpx-sse yields an event for a block without any data line (`retry:` or `id:` alone);
# the event-stream standard, and EventSource, dispatch none.
# Exits 0 while that holds, 1 when the behaviour has changed.
set -euo pipefail

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

npm install --silent --no-audit --no-fund --prefix . eventsource@5.1.5 >/dev/null
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install httpx==0.28.1 httpx-sse==0.4.3
echo "httpx-sse 0.4.3 on httpx 0.28.1; to compare: eventsource 5.1.5 on node $(node --version)"

cat > eventsource.cjs <<'JS'
const { EventSource } = require("eventsource");
const source = new EventSource(process.argv[2]);
const seen = [];
const record = (e) => seen.push([e.type, e.data, e.lastEventId]);
source.addEventListener("message", record);
source.addEventListener("ping", record);
source.addEventListener("error", () => {
  source.close();
  console.log(JSON.stringify(seen));
});
JS

cat > compare.py <<'PY'
import http.server, json, subprocess, sys, threading
import httpx, httpx_sse

STREAM = b'retry: 2000\n\nid: 7\n\nevent: ping\n\ndata: {"n":1}\n\n'

class Stream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(STREAM)
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"

with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
    events = list(source.iter_sse())
python = [[e.event, e.data, e.id] for e in events]
node = json.loads(subprocess.run(["node", "eventsource.cjs", url], check=True, timeout=20,
                                 capture_output=True, text=True).stdout)
try:
    outcome = str(events[0].json())
except json.JSONDecodeError as e:
    outcome = f"JSONDecodeError: {e}"
server.shutdown()

print("stream:     ", STREAM)
print("eventsource:", node)
print("httpx-sse:  ", python)
print("httpx-sse, .json() of the first event:", outcome)
data = ["message", '{"n":1}', "7"]
holds = (node == [data] and outcome.startswith("JSONDecodeError")
         and python == [["message", "", ""], ["message", "", "7"], ["ping", "", "7"], data])
print("reproduced" if holds else "CHANGED")
sys.exit(0 if holds else 1)
PY
timeout 60 venv/bin/python compare.py
