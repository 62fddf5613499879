#!/usr/bin/env bash
# HAProxy 2.6 in `mode http` delivers each Server-Sent Event about 200 ms late
# unless `option http-no-delay` is set.
# Exits 0 while that holds, 1 when the behaviour has changed.
set -euo pipefail

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

apt-get -qq -o APT::Sandbox::User=root download \
  'haproxy=2.6.12-*' liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >/dev/null
for deb in *.deb; do dpkg-deb -x "$deb" root; done
export HAPROXY="$WORK/root/usr/sbin/haproxy"
LIBS=$(dirname "$(find "$WORK/root" -name liblua5.3.so.0 -print -quit)")
export LD_LIBRARY_PATH="$LIBS"
"$HAPROXY" -v | sed -n 1p

cat > measure.py <<'PY'
import http.client, http.server, os, socket, statistics, subprocess, sys, threading, time

EVENTS, GAP_S = 8, 0.5

class Stream(http.server.BaseHTTPRequestHandler):
    """Sends an event every GAP_S as one chunk; the event holds the time it was sent."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(EVENTS):
            event = f"data: {time.monotonic()}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(GAP_S)
        self.wfile.write(b"0\r\n\r\n")
    def log_message(self, *_):
        pass

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def delays_ms(port):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    conn.request("GET", "/")
    response, delays = conn.getresponse(), []
    while line := response.readline():
        if line.startswith(b"data: "):
            delays.append((time.monotonic() - float(line[6:])) * 1000)
    conn.close()
    return delays

def through_haproxy(origin, name, option):
    port = free_port()
    with open(f"{name}.cfg", "w") as f:
        f.write(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    {option}
frontend in
    bind 127.0.0.1:{port}
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin}
""")
    proxy = subprocess.Popen([os.environ["HAPROXY"], "-db", "-f", f"{name}.cfg"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        return delays_ms(port)
    finally:
        proxy.terminate()
        proxy.wait(10)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
threading.Thread(target=server.serve_forever, daemon=True).start()
origin = server.server_port
runs = {
    "without HAProxy": delays_ms(origin),
    "mode http": through_haproxy(origin, "plain", ""),
    "mode http, option http-no-delay": through_haproxy(origin, "no_delay", "option http-no-delay"),
}
server.shutdown()
medians = {}
for name, delays in runs.items():
    assert len(delays) == EVENTS, (name, delays)
    medians[name] = statistics.median(delays)
    print(f"{name}: median {medians[name]:.0f} ms; each:", " ".join(f"{d:.0f}" for d in delays))
holds = (medians["without HAProxy"] < 50
         and medians["mode http"] > 100
         and medians["mode http, option http-no-delay"] < 50)
print("reproduced" if holds else "CHANGED")
sys.exit(0 if holds else 1)
PY
timeout 60 python3 measure.py
