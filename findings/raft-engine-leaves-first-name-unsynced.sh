#!/usr/bin/env bash
# crates.io raft-engine 0.4.2 with its own file system, writing with `sync = true` into a new folder, watched by strace.
# Expected, as SQLite does with its journal in the same place: when a file was created, its folder is synced before a write that
# depends on it is called durable, since a file's fsync does not sync its name (fsync(2), notes).
# What it does: the folder is synced for the second and each later file, and not for the first ones (one of 128 MB by default), so a
# power cut may leave a folder without the file that hundreds of writes with `sync = true` went to.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
command -v strace >/dev/null || apt-get install -y -qq strace >/dev/null
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "names"
version = "0.0.0"
edition = "2021"

[dependencies]
raft-engine = { version = "=0.4.2", default-features = false, features = ["internals"] }
TOML
cat >src/main.rs <<'RS'
use raft_engine::{Config, Engine, LogBatch, ReadableSize};

fn main() {
    let mut config = Config { dir: std::env::args().nth(1).expect("a folder"), ..Config::default() };
    if std::env::args().len() > 2 {
        config.target_file_size = ReadableSize::kb(64);
    }
    let engine = Engine::open(config).expect("it opens");
    for number in 0_u64..200 {
        let mut batch = LogBatch::default();
        batch.put(1, number.to_le_bytes().to_vec(), vec![7; 2_000]).expect("it takes a key");
        engine.write(&mut batch, true).expect("it writes");
    }
    // As a killed process would: nothing is tidied up.
    std::process::exit(0);
}
RS
cargo build --quiet 2>build.txt || { cat build.txt; exit 1; }
watch() {
    strace -f -y -e trace=openat,fsync,fdatasync -o "$1.txt" ./target/debug/names "$@"
    created=$(grep -cE 'openat\(.*raftlog.*O_CREAT' "$1.txt" || true)
    files=$(grep -cE '(fsync|fdatasync)\([0-9]+<[^>]*raftlog>' "$1.txt" || true)
    names=$(grep -cE "(fsync|fdatasync)\\([0-9]+<[^>]*/$1>" "$1.txt" || true)
    echo "raft-engine 0.4.2, $1: $created log files created, $files syncs of files, $names syncs of their folder"
}
watch one
in_one="$created $names"
[ "$files" -ge 200 ] || in_one="not synced"
watch several small
in_several=$((created - names))
mkdir peer
strace -f -y -e trace=fsync,fdatasync -o peer.txt python3 - <<'PY'
import sqlite3
database = sqlite3.connect("peer/a.db")
database.execute("create table t (n)")
database.execute("insert into t values (1)")
database.commit()
PY
peer=$(grep -cE '(fsync|fdatasync)\([0-9]+<[^>]*/peer>' peer.txt || true)
echo "SQLite $(python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'): $peer syncs of the folder of its journal"
if [ "$in_one" = "1 0" ] && [ "$created" -gt 2 ] && [ "$in_several" -eq 1 ] && [ "$peer" -gt 0 ]; then
    echo reproduced
else
    echo CHANGED
    exit 1
fi
