#!/usr/bin/env bash
# msgpackr writes integers beyond 32 bits (a time in milliseconds, say) as float 64,
# though MessagePack has 64-bit integers: typed readers receive a float.
# Exits 0 while that holds, 1 when the behaviour has changed.
set -euo pipefail

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

npm install --silent --no-audit --no-fund --prefix . msgpackr@2.1.4 @msgpack/msgpack@3.1.3 >/dev/null
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install msgpack==1.2.4
echo "msgpackr 2.1.4, @msgpack/msgpack 3.1.3, Python msgpack 1.2.4, node $(node --version)"

cat > encode.cjs <<'JS'
const { pack } = require("msgpackr");
const { encode } = require("@msgpack/msgpack");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
for (const n of [2 ** 32 - 1, 2 ** 32, 1_700_000_000_000, -(2 ** 31) - 1]) {
  console.log("msgpackr", n, hex(pack(n)));
  console.log("msgpackr,BigInt", n, hex(pack(BigInt(n))));
  console.log("@msgpack/msgpack", n, hex(encode(n)));
}
JS
node encode.cjs > encoded.txt

cat > check.py <<'PY'
import sys, msgpack

holds = True
for line in open("encoded.txt"):
    writer, number, encoded = line.split()
    read = msgpack.unpackb(bytes.fromhex(encoded))
    print(f"{writer:17} {number:>14} -> {encoded:19} -> Python {type(read).__name__:5} {read}")
    beyond_32_bits = not -2**31 <= int(number) < 2**32
    expected = float if writer == "msgpackr" and beyond_32_bits else int
    holds = holds and type(read) is expected and read == int(number)
print("reproduced" if holds else "CHANGED")
sys.exit(0 if holds else 1)
PY
venv/bin/python check.py
