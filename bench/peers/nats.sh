#!/bin/sh
# Starts nats-server with its WebSocket listener: sh nats.sh [PORT [STORE]]
#
# The shell gives its process away, so that the id that was started is the server's and a signal reaches it.
# NATS_SERVER is the binary, if not that of PATH.
# The server says its port itself, on standard error: "Listening for websocket clients on ws://127.0.0.1:PORT".
set -eu
NATS_WEBSOCKET_PORT=${1:-${PORT:-0}}
[ "$NATS_WEBSOCKET_PORT" != 0 ] || NATS_WEBSOCKET_PORT=-1 # what NATS calls "any free port"
NATS_STORE=${2:-${STORE:-$(mktemp -d)}}
export NATS_WEBSOCKET_PORT NATS_STORE
exec "${NATS_SERVER:-nats-server}" --config "$(dirname "$0")/nats.conf"
