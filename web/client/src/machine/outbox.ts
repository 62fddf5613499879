/**
 * The events of one session that wait for their acks, in the order in which they were published.
 *
 * ```text
 *   front ─ sent, ack awaited ─┬─ to be sent ─ back
 *                              └ `inFlight` counts those before it
 * ```
 * A refusal that is worth a retry, or a new connection, moves the mark back, so that everything from there on is sent
 * again in order; what the log has already is acked as a duplicate. Events without an ack stay until those before them
 * are acked, so that they keep their place.
 */
import type { GaveUp, Outcome } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import type { Event } from "../event.js";

/** One published event. */
export interface Entry {
  readonly id: string;
  readonly event: Event;
  /** When it was published, ms since 1970. */
  readonly timestamp: number;
  readonly deadline: number | null;
  /** Whom to tell; `null` if no ack is wanted. */
  readonly ticket: number | null;
  /** How often it was handed to a connection. */
  sends: number;
  /** A send of it was never answered, or answered in a way that leaves open whether it is stored. */
  inDoubt: boolean;
  refused: number;
  lastRefusal: ErrorData | null;
}

/** What left an outbox. */
export interface Left {
  readonly ticket: number | null;
  readonly outcome: Outcome;
  readonly bytes: number;
}

/**
 * What a refusal of an event asks for: nothing, since there is no such event (`undefined`: its ack was not wanted, or it was
 * given up) or it waits to be sent again already (`null`); its outcome to be told; or to send it again after a wait, when it had
 * been refused so often before.
 */
export type Refusal = Left | number | null | undefined;

/** Refusals that leave open whether the log has the event. */
const DOUBTFUL = ["log_unavailable", "internal"];
/** Refusals given only after the server has looked for a repeat: they say that there was none. */
const CERTAIN = ["session_closed", "id_conflict", "payload_too_large"];

/** One session's events on their way to the log. */
export class Outbox {
  #entries: Entry[] = [];
  #inFlight = 0;
  /** Nothing is sent before. */
  holdUntil: number | null = null;

  get size(): number {
    return this.#entries.length;
  }

  push(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** Whether an event could be sent now, with at most `window` in flight. */
  isReady(window: number): boolean {
    return this.holdUntil === null && this.#inFlight < this.#entries.length && this.#inFlight < window;
  }

  /** The next event to be sent. */
  next(): Entry | undefined {
    return this.#entries[this.#inFlight];
  }

  /** Notes that `next` was handed to the connection. */
  sent(): void {
    const entry = this.next();
    if (!entry) return;
    entry.sends += 1;
    this.#inFlight += 1;
  }

  /** Takes the next event out: it cannot be sent. */
  refuseNext(refusal: ErrorData): Left | null {
    const entry = this.#remove(this.#inFlight);
    return entry ? settleRefused(entry, refusal) : null;
  }

  /** The front event without an ack that is sent and has nothing before it: it is done. Gives its bytes. */
  popUnacked(): number | null {
    const [front] = this.#entries;
    if (this.#inFlight === 0 || front?.ticket !== null) return null;
    this.#remove(0);
    return front.event.bytes;
  }

  /** Takes an acked event out. Acks come in order, so it is nearly always the first. */
  acked(id: string): Entry | null {
    const index = this.#find(id);
    return index < 0 ? null : this.#remove(index);
  }

  /** Takes note of a refusal. */
  refused(id: string, refusal: ErrorData, mostRetries: number | null): Refusal {
    const index = this.#find(id);
    const entry = this.#entries[index];
    if (!entry) return undefined;
    if (!refusal.retryable && refusal.code !== "not_a_participant") {
      this.#remove(index);
      return settleRefused(entry, refusal);
    }
    if (index >= this.#inFlight) return null;
    entry.inDoubt ||= DOUBTFUL.includes(refusal.code);
    entry.refused += 1;
    if (mostRetries !== null && entry.refused > mostRetries) {
      this.#remove(index);
      return settleExhausted(entry, refusal);
    }
    entry.lastRefusal = refusal;
    // The answers to what was sent behind it will not be waited for.
    for (const later of this.#entries.slice(index + 1, this.#inFlight)) later.inDoubt = true;
    this.#inFlight = index;
    return entry.refused - 1;
  }

  /** The connection is lost: everything is to be sent again. */
  connectionLost(): void {
    for (const entry of this.#entries.slice(0, this.#inFlight)) entry.inDoubt = true;
    this.holdUntil = null;
    this.#inFlight = 0;
  }

  /** When the first event is given up. All events wait equally long, so it is the oldest. */
  nextDeadline(): number | null {
    return this.#entries[0]?.deadline ?? null;
  }

  /** Takes out the first event if its time is over. */
  popExpired(at: number): Left | null {
    const deadline = this.nextDeadline();
    if (deadline === null || deadline > at) return null;
    const wasInFlight = this.#inFlight > 0;
    const entry = this.#remove(0);
    return entry && giveUp(entry, wasInFlight, { kind: "ackTimeout" });
  }

  /** Takes out the oldest event that was never sent. */
  dropOldestUnsent(): Left | null {
    const entry = this.#remove(this.#entries.findIndex((found) => found.sends === 0));
    return entry && giveUp(entry, false, { kind: "dropped" });
  }

  /** Takes out everything: refused, or given up. Nothing is put in any more. */
  takeAll(why: GaveUp, refusal?: ErrorData): Left[] {
    return this.#entries.map((entry, index) => (refusal ? settleRefused(entry, refusal) : giveUp(entry, index < this.#inFlight, why)));
  }

  #find(id: string): number {
    return this.#entries.findIndex((entry) => entry.id === id);
  }

  #remove(index: number): Entry | null {
    const entry = this.#entries[index];
    if (!entry) return null;
    if (index < this.#inFlight) this.#inFlight -= 1;
    if (index === 0) this.#entries.shift();
    else this.#entries.splice(index, 1);
    return entry;
  }
}

/** A refusal settles an event, unless an earlier send of it may have succeeded. */
function settleRefused(entry: Entry, refusal: ErrorData): Left {
  const isOpen = entry.inDoubt && !CERTAIN.includes(refusal.code);
  return left(entry, isOpen ? { status: "unknown", why: { kind: "refusedAgain", refusal }, sent: true } : { status: "refused", refusal });
}

function settleExhausted(entry: Entry, refusal: ErrorData): Left {
  return left(entry, entry.inDoubt ? { status: "unknown", why: { kind: "retries", refusal }, sent: true } : { status: "refused", refusal });
}

function giveUp(entry: Entry, wasInFlight: boolean, why: GaveUp): Left {
  // Every send of it was answered, with a refusal.
  const isRefused = entry.lastRefusal && !wasInFlight && !entry.inDoubt;
  return left(entry, isRefused && entry.lastRefusal ? { status: "refused", refusal: entry.lastRefusal } : { status: "unknown", why, sent: entry.sends > 0 });
}

/** An event that has left, and what became of it. */
export function left(entry: Entry, outcome: Outcome): Left {
  return { ticket: entry.ticket, outcome, bytes: entry.event.bytes };
}
