/** Events on their way by POST: those of one session one request after the other, so that they keep their order. */
import type { Envelope, Warning } from "../protocol.js";
import { type Api, Refusal, Unusable } from "./api.js";
import { pathOf } from "./commands.js";

/** Most events in one request. */
const MAX_EVENTS = 256;
/** Bytes of a request with more than one event, about. */
const MAX_BYTES = 64 * 1024;

/** An answer to a request with events. */
interface Published {
  epoch?: string | null;
  level?: string;
  acks: { originalMessageId: string; seq: number; duplicate?: boolean; warnings?: Warning[] }[];
  errors: Record<string, unknown>[];
}

interface Waiting {
  id: string;
  text: string;
}

/** Something on the way takes no request of this size, so the server never had it. */
function tooLarge({ status, message }: Unusable): Refusal {
  return new Refusal(status, { error: `the way to the server takes no event of this size (${message})`, code: "payload_too_large", retryable: false });
}

/** What the server says about events, as on the socket. */
export type Say = (type: "system_message" | "error", data: Record<string, unknown>, sessionId: string) => void;

/** All events of one link. */
export class Publisher {
  readonly #api: Api;
  readonly #signal: AbortSignal;
  readonly #say: Say;
  readonly #failed: (error: unknown) => void;
  readonly #sessions = new Map<string, Waiting[]>();
  /** Shrinks to nothing, so one event a request, where the server takes less, or cannot read one of them. */
  #most = MAX_BYTES;
  /** Characters that wait or are on their way. */
  waiting = 0;

  constructor(api: Api, signal: AbortSignal, say: Say, failed: (error: unknown) => void) {
    this.#api = api;
    this.#signal = signal;
    this.#say = say;
    this.#failed = failed;
  }

  add(envelope: Envelope): void {
    const session = envelope.sessionId ?? "";
    const event = { id: envelope.id, text: JSON.stringify(envelope) };
    this.waiting += event.text.length;
    const line = this.#sessions.get(session);
    if (line) {
      line.push(event);
      return;
    }
    const begun = [event];
    this.#sessions.set(session, begun);
    // What is added in one go is sent in one go.
    queueMicrotask(() => {
      void this.#send(session, begun);
    });
  }

  async #send(session: string, line: Waiting[]): Promise<void> {
    const isOver = (): boolean => this.#signal.aborted;
    while (line.length > 0 && !isOver()) {
      const batch = this.#take(line);
      try {
        const body = `[${batch.map(({ text }) => text).join(",")}]`;
        const headers = { "Content-Type": "application/json" };
        const answer = await this.#api.json(`${pathOf(session)}/events`, { method: "POST", body, headers, signal: this.#signal });
        if (isOver()) return;
        this.#answered(session, answer as unknown as Published);
      } catch (error) {
        if (isOver()) return;
        const status = error instanceof Refusal || error instanceof Unusable ? error.status : 0;
        // The body as a whole is too large or cannot be read: one event of it may be why, and the others are good.
        if ([400, 413].includes(status) && batch.length > 1) {
          this.#most = 0;
          line.unshift(...batch);
          continue;
        }
        const refusal = error instanceof Unusable && status === 413 ? tooLarge(error) : error;
        if (!(refusal instanceof Refusal) || status === 401) {
          this.#failed(error);
          return;
        }
        for (const { id } of batch) this.#say("error", { ...refusal.data, originalMessageId: id }, session);
      }
      for (const { text } of batch) this.waiting -= text.length;
    }
    this.#sessions.delete(session);
  }

  #take(line: Waiting[]): Waiting[] {
    let [count, size] = [0, 0];
    for (const { text } of line) {
      size += text.length;
      if (count > 0 && (count >= MAX_EVENTS || size > this.#most)) break;
      count += 1;
    }
    return line.splice(0, count);
  }

  #answered(session: string, { epoch, level, acks, errors }: Published): void {
    const head = { type: "ack", sessionId: session, epoch, level };
    for (const isRepeat of [false, true]) {
      const alike = acks.filter(({ duplicate = false, warnings }) => duplicate === isRepeat && !warnings);
      const pairs = alike.map(({ originalMessageId, seq }) => [originalMessageId, seq]);
      if (pairs.length > 0) this.#say("system_message", { ...head, acks: pairs, ...(isRepeat && { duplicate: true }) }, session);
    }
    // Warnings belong to one event.
    for (const ack of acks) {
      if (ack.warnings) this.#say("system_message", { ...ack, ...head }, session);
    }
    for (const error of errors) this.#say("error", error, session);
  }
}
