#!/usr/bin/env bash
# crates.io raft-engine 0.4.2: two engines in two folders of one process, as a process has that moves logs from one folder to another,
# compares a backup with the original, or tests two nodes.
# Expected, as with two databases of SQLite: each engine returns the entries of its own folder.
# What it does: a thread keeps the last block of entries that it read, named by queue, number of the file, offset and length, but not by
# engine. A read from the second folder returns the first folder's entry if both have a block of the same length at the same place,
# without an error, since the checksum was compared when the block was read from the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "folders"
version = "0.0.0"
edition = "2021"

[dependencies]
protobuf = "=2.28.0"
raft-engine = { version = "=0.4.2", default-features = false, features = ["internals"] }
TOML
cat >src/main.rs <<'RS'
use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt};

/// Entries whose text says where they were written. Each log has one, with index 1.
struct Texts;

impl MessageExt for Texts {
    type Entry = Any;

    fn index(_: &Any) -> u64 {
        1
    }
}

fn open(name: &str) -> Engine {
    Engine::open(Config { dir: name.to_owned(), ..Config::default() }).expect("it opens")
}

fn write(engine: &Engine, text: &str) {
    let mut entry = Any::new();
    entry.type_url = text.to_owned();
    let mut batch = LogBatch::default();
    batch.add_entries::<Texts>(1, &[entry]).expect("it takes an entry");
    engine.write(&mut batch, true).expect("it writes");
}

fn read(engine: &Engine) -> String {
    engine.get_entry::<Texts>(1, 1).expect("it reads").expect("it is there").type_url
}

fn main() {
    let (north, south) = (open("north"), open("south"));
    write(&north, "written to north");
    write(&south, "written to south");
    let here = (read(&north), read(&south));
    // A thread that has read nothing yet reads from the file.
    let elsewhere = std::thread::spawn(move || read(&south)).join().expect("it ends");
    println!("north: {}; south, same thread: {}; south, another thread: {elsewhere}", here.0, here.1);
}
RS
cargo build --quiet 2>build.txt || { cat build.txt; exit 1; }
output=$(./target/debug/folders)
echo "raft-engine 0.4.2, $output"
peer=$(python3 - <<'PY'
import sqlite3
databases = [sqlite3.connect(f"{name}.db") for name in ("north", "south")]
for database, name in zip(databases, ("north", "south")):
    database.execute("create table t (text)")
    database.execute("insert into t values (?)", (f"written to {name}",))
print("; ".join(database.execute("select text from t").fetchone()[0] for database in databases))
PY
)
echo "SQLite $(python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'), same thread: $peer"
if [ "$output" = "north: written to north; south, same thread: written to north; south, another thread: written to south" ] \
    && [ "$peer" = "written to north; written to south" ]; then
    echo reproduced
else
    echo CHANGED
    exit 1
fi
