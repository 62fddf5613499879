#!/usr/bin/env bash
# websocket-client with run_forever(reconnect=N) reports a close frame of the server
# to neither on_close nor on_error: code and reason are lost, and it connects again.
# Exits 0 while that holds, 1 when the behaviour has changed.
set -euo pipefail

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install websocket-client==1.9.2
echo "websocket-client 1.9.2, Python $(venv/bin/python -c 'import platform; print(platform.python_version())')"

cat > observe.py <<'PY'
import base64, hashlib, socketserver, struct, sys, threading, time
import websocket

ACCEPT_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WAIT_S = 3.5

class Upgraded(socketserver.StreamRequestHandler):
    """Upgrades; then closes as the path says: `/4001` by a close frame, `/cut` without one."""
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        headers = {}
        while (line := self.rfile.readline().strip()):
            name, value = line.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        key = hashlib.sha1((headers["sec-websocket-key"] + ACCEPT_SALT).encode()).digest()
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                         b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                         + base64.b64encode(key) + b"\r\n\r\n")
        if path == "/4001":
            reason = struct.pack("!H", 4001) + b"token expired"
            self.wfile.write(bytes([0x88, len(reason)]) + reason)
            self.rfile.read(1)  # the client's answer
        time.sleep(0.2)

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    def handle_error(self, request, client_address):
        pass

def callbacks(port, path, reconnect):
    seen = []
    app = websocket.WebSocketApp(
        f"ws://127.0.0.1:{port}{path}",
        on_open=lambda _: seen.append("on_open"),
        on_reconnect=lambda _: seen.append("on_reconnect"),
        on_error=lambda _, e: seen.append(f"on_error({e})"),
        on_close=lambda _, code, reason: seen.append(f"on_close({code}, {reason})"))
    thread = threading.Thread(target=app.run_forever, kwargs={"reconnect": reconnect}, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    snapshot = list(seen)
    app.keep_running = False
    return snapshot

server = Server(("127.0.0.1", 0), Upgraded)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]
runs = {(path, reconnect): callbacks(port, path, reconnect)
        for path in ("/4001", "/cut") for reconnect in (0, 1)}
server.shutdown()
for (path, reconnect), seen in runs.items():
    how = "close frame 4001 'token expired'" if path == "/4001" else "no close frame"
    print(f"{how}, reconnect={reconnect}: {', '.join(seen)}")

def reported(path, reconnect):
    return any(s.startswith(("on_error", "on_close")) for s in runs[path, reconnect])

holds = ("on_close(4001, token expired)" in runs["/4001", 0]
         and not reported("/4001", 1) and "on_reconnect" in runs["/4001", 1]
         and reported("/cut", 0) and reported("/cut", 1))
print("reproduced" if holds else "CHANGED")
sys.exit(0 if holds else 1)
PY
timeout 60 venv/bin/python observe.py 2>/dev/null
