/**
 * The format of a durable outbox's file: one record a line, each with its checksum.
 *
 * ```text
 *   <CRC-32C of the rest, 8 hexadecimal digits> <JSON>\n
 *   {"producerId":"…"}     the first record
 *   {"event":{…}}          an event was published
 *   {"done":["id",…]}      these are settled
 * ```
 * A last line that is not whole was never confirmed to anybody, and is left out. Any other damage is an error.
 */
import { crc32c } from "./crc32c.js";
import { ClientError } from "../outcome.js";
import type { StoredEvent } from "./store.js";

/** One line. */
export type LogRecord = { producerId: string } | { event: StoredEvent } | { done: readonly string[] };

/** What files say, one after the other. */
export interface LogContent {
  producerId: string | null;
  /** What is not settled, in the order in which it was published. */
  events: Map<string, StoredEvent>;
}

/** A record as a line. */
export function writeRecord(record: LogRecord): string {
  const json = JSON.stringify(record);
  return `${crc32c(json)} ${json}\n`;
}

function readRecord(line: string): LogRecord | null {
  const json = line.slice(9);
  if (line[8] !== " " || crc32c(json) !== line.slice(0, 8)) return null;
  return JSON.parse(json) as LogRecord;
}

/** Adds what a file says. Throws `store` if it is damaged. */
export function readLog(name: string, text: string, content: LogContent): void {
  const lines = text.split("\n");
  // What is behind the last end of a line.
  lines.pop();
  for (const [index, line] of lines.entries()) {
    const record = readRecord(line);
    if (record) apply(record, content);
    else if (index < lines.length - 1) {
      throw new ClientError("store", `${name} is damaged in line ${index + 1}: move it away to go on without the events in it`);
    }
  }
}

function apply(record: LogRecord, content: LogContent): void {
  if ("event" in record) content.events.set(record.event.id, record.event);
  else if ("done" in record) for (const id of record.done) content.events.delete(id);
  else content.producerId = record.producerId;
}
