#!/bin/sh
# Runs `agentbench suite …` for package.json: with the binary that was built here, else with an installed one, else it says
# that it has to compile, and does.
set -eu
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
# The newer of what `cargo xtask serve` and `cargo build --release` leave.
built=$(ls -t "$target/serve/agentbench" "$target/release/agentbench" 2>/dev/null | head -n 1)
if [ -x "$built" ]; then
    exec "$built" suite "$@"
elif command -v agentbench >/dev/null 2>&1; then
    exec agentbench suite "$@"
fi
echo "agentbench is neither built nor installed: compiling it, which takes some minutes (cargo build --release)" >&2
exec cargo run --release --quiet -- suite "$@"
