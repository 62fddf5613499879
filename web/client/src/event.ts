/** What is published: an event's content and how it is to be handled. */
import { utf8Length } from "./codec.js";
import type { Metadata } from "./item.js";
import { ClientError } from "./outcome.js";

/** Longest time to live, ms (one day). */
const MAX_TTL = 86_400_000;
/** Levels of objects and arrays in what is sent. Servers read 127; readers get an event inside of other messages. */
const MAX_DEPTH = 120;

/** What is refused first under overload; never changes the order in a session. */
export type Priority = NonNullable<Metadata["priority"]>;

/** How an event is to be handled. */
export interface PublishOptions {
  /** Its id; made if left out. The same producer publishing the same id again stores it once. 1–128 visible characters. */
  id?: string;
  /** What is refused first under overload; never changes the order in a session. */
  priority?: Priority;
  /** Readers who have not got it this long (ms) after the server took it do not get it any more. At most a day. */
  ttl?: number;
  /** W3C trace context, passed on to readers. */
  traceparent?: string;
}

/** An event, checked and written as JSON once, so that every send of it is the same. */
export interface Event {
  /** The content: the text of one JSON object. */
  readonly data: string;
  /** Its size in UTF-8. */
  readonly bytes: number;
  /** Handling instructions that are sent along; no `requiresAck` or `retryCount` among them. */
  readonly metadata: Metadata;
}

/** Whether a text may be an id: 1–128 visible characters, no white space. */
export function isVisible(text: string): boolean {
  return /^[^\s\p{Cc}\p{Cs}]{1,128}$/u.test(text);
}

/** Checks an event and writes its content. Throws `invalid` if it cannot be sent. */
export function makeEvent(data: Record<string, unknown>, options: PublishOptions): Event {
  if (options.id !== undefined && !isVisible(options.id)) {
    throw new ClientError("invalid", "an event's id must have 1 to 128 visible characters");
  }
  const { priority, ttl, traceparent } = options;
  if (ttl !== undefined && !(Number.isInteger(ttl) && ttl >= 0 && ttl <= MAX_TTL)) {
    throw new ClientError("invalid", `an event's ttl must be a whole number of ms, at most ${MAX_TTL}`);
  }
  const text = writeObject(data);
  // What was not given is left out when it is written.
  const metadata = { priority, ttl, traceparent } as Metadata;
  writeObject(metadata);
  return { data: text, bytes: utf8Length(text), metadata };
}

/** For functions and the like there is no text, whatever the library's type says. */
const write: (value: unknown) => string | undefined = JSON.stringify;

/** The text of a JSON object. Throws `invalid` if it is none, or if servers could not read it. */
export function writeObject(data: unknown): string {
  let text: string | undefined;
  try {
    text = write(data);
  } catch (cause) {
    throw new ClientError("invalid", `data cannot be written as JSON: ${String(cause)}`, { cause });
  }
  if (!text?.startsWith("{")) throw new ClientError("invalid", "data must be a JSON object");
  const problem = problemOf(text);
  if (problem) throw new ClientError("invalid", `data ${problem}`);
  return text;
}

/** Why servers could not read a JSON text, if so. One event that cannot be read spoils the frame that it shares with others. */
function problemOf(text: string): string | undefined {
  let depth = 0;
  let isInside = false;
  for (let at = 0; at < text.length; at += 1) {
    const mark = text.charAt(at);
    if (mark === "\\") {
      at += 1;
      // Pairs are written as they are, so an escaped surrogate is alone.
      if (/^ud[89a-f]/.test(text.slice(at, at + 3))) return "has half of a surrogate pair in a text";
    } else if (mark === '"') isInside = !isInside;
    else if (!isInside && "[{".includes(mark) && (depth += 1) > MAX_DEPTH) return `is nested deeper than ${MAX_DEPTH} levels`;
    else if (!isInside && "]}".includes(mark)) depth -= 1;
  }
  return undefined;
}
