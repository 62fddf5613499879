#!/usr/bin/env bash
# sseclient-py delivers the event that a closing connection cut off, with the part of
# its data that arrived; the event-stream standard, and EventSource, discard it.
# Exits 0 while that holds, 1 when the behaviour has changed.
set -euo pipefail

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

npm install --silent --no-audit --no-fund --prefix . eventsource@5.1.5 >/dev/null
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install sseclient-py==1.9.0 requests==2.34.2 urllib3==2.8.0
echo "sseclient-py 1.9.0 on requests 2.34.2; to compare: eventsource 5.1.5 on node $(node --version)"

cat > eventsource.cjs <<'JS'
const { EventSource } = require("eventsource");
const source = new EventSource(process.argv[2]);
const seen = [];
source.addEventListener("message", (e) => seen.push([e.data, e.lastEventId]));
source.addEventListener("error", () => {
  source.close();
  console.log(JSON.stringify(seen));
});
JS

cat > compare.py <<'PY'
import http.server, json, subprocess, sys, threading
import requests, sseclient

WHOLE = b"id: 1\ndata: 100\n\n"
# The second event says 2500; the connection ends before its end.
CUT = {"/in-a-line": b"id: 2\ndata: 25", "/between-lines": b"id: 2\ndata: first line\n"}

class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # A proxy that ends a response in order sends the last chunk, too.
        for part in (WHOLE, CUT[self.path]):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
threading.Thread(target=server.serve_forever, daemon=True).start()
holds = True
for path, partial in (("/in-a-line", "25"), ("/between-lines", "first line")):
    url = f"http://127.0.0.1:{server.server_port}{path}"
    with requests.get(url, stream=True, timeout=10) as response:
        python = [[e.data, e.id] for e in sseclient.SSEClient(response).events()]
    node = json.loads(subprocess.run(["node", "eventsource.cjs", url], check=True, timeout=20,
                                     capture_output=True, text=True).stdout)
    print("stream:      ", WHOLE + CUT[path], "end")
    print("eventsource: ", node)
    print("sseclient-py:", python)
    holds = holds and node == [["100", "1"]] and python == [["100", "1"], [partial, "2"]]
server.shutdown()
print("reproduced" if holds else "CHANGED")
sys.exit(0 if holds else 1)
PY
timeout 60 venv/bin/python compare.py
