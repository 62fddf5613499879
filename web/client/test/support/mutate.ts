/** Changes frames as a broken server, a proxy or an attacker might: bytes, or the values in a message. */
import type { Frame } from "../../src/codec.js";

/** Gives numbers in [0, 1). */
type Random = () => number;

/** Values that are of another type, out of range, or at a limit. */
const VALUES: readonly unknown[] = [
  null, true, false, 0, -1, 1, 1.5, 2, 3, 255, 65_536, 2 ** 31, 2 ** 53, 1e300, "", "x", "7", "__proto__", "constructor", "toString", [], {}, [[]],
  [null], [["e1", 1]], [[1, "e1"]], { seq: 1 }, { epoch: "epoch-7", seq: 2 }, "start", "epoch", "diverged", "test_event", "system_message", "error", "ack", "gap",
  "session_joined", "session_created", "replay_finished", "connection_established", "disconnecting", "never", "immediately", "after", "malformed_json",
];

/** One of these. */
export function oneOf<T>(random: Random, all: readonly T[]): T {
  return all[Math.floor(random() * all.length)]!;
}

/** A changed copy of a frame. `others` are frames whose parts it may get. */
export function mutated(random: Random, frame: Frame, others: readonly Frame[]): unknown {
  if (random() < 0.05) return oneOf<unknown>(random, [undefined, null, 7, "", new Uint8Array(0), new ArrayBuffer(4), {}]);
  if (typeof frame !== "string") return changedBytes(random, frame);
  return random() < 0.2 ? changedText(random, frame) : changedValue(random, frame, others);
}

function changedBytes(random: Random, frame: Uint8Array): Uint8Array {
  const bytes = frame.slice(0, random() < 0.2 ? Math.floor(random() * frame.length) : frame.length);
  for (let left = 1 + Math.floor(random() * 3); left > 0 && bytes.length > 0; left -= 1) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
  return bytes;
}

function changedText(random: Random, text: string): string {
  const [at, to] = [Math.floor(random() * text.length), Math.floor(random() * text.length)];
  return text.slice(0, at) + oneOf(random, ["", "0", "9", "\"", "{", "}", "]", ",", "\\", "\u0000", "\ud800", text.slice(to, to + 20)]) + text.slice(at + 1);
}

function changedValue(random: Random, text: string, others: readonly Frame[]): string {
  const message: unknown = JSON.parse(text);
  const places = placesIn(message);
  for (let left = 1 + Math.floor(random() * 2); left > 0 && places.length > 0; left -= 1) {
    const [holder, key] = oneOf(random, places);
    const other = oneOf(random, others);
    const how = random();
    if (how < 0.15) Reflect.deleteProperty(holder, key);
    else if (how < 0.4 && typeof other === "string") {
      const [from, name] = oneOf(random, placesIn(JSON.parse(other)));
      // Of the same name, if there is one: another's id or seq.
      holder[key] = placesIn(JSON.parse(other)).find(([, same]) => same === key)?.[0][key] ?? from[name];
    } else if (how < 0.55 && typeof holder[key] === "number") holder[key] += oneOf(random, [-2, -1, 1, 2, 5]);
    else holder[key] = oneOf(random, VALUES);
  }
  const changed = random() < 0.1 ? [message, message] : message;
  // What JSON can say, and JSON.stringify cannot.
  return JSON.stringify(changed).replace(/:1e\+300\b/g, ":1e999");
}

/** Every place of a value in a message. */
function placesIn(value: unknown): [holder: Record<string, unknown>, key: string][] {
  if (typeof value !== "object" || value === null) return [];
  const holder = value as Record<string, unknown>;
  return Object.keys(holder).flatMap((key) => [[holder, key] as [Record<string, unknown>, string], ...placesIn(holder[key])]);
}
