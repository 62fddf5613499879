/** Commands that wait for their replies. Each is sent again, under its id, on every new connection. */
import type { ErrorData } from "../protocol.js";

/** What a command is for. */
export type Purpose =
  /** The user waits for the reply, under this key. */
  | { for: "user"; key: number }
  /** The user creates a session: its reply is a join as well. */
  | { for: "create"; key: number }
  /** Joins a session on the current connection; a new connection asks anew. */
  | { for: "join"; session: string }
  /** A newer token is to be accepted; a user may wait for that. */
  | { for: "refresh"; key: number | null; token: string }
  /** A session is to be replayed; a user waits for the start of the first attempt. */
  | { for: "replay"; session: string; key: number | null }
  /** Nobody waits. */
  | { for: "nobody" };

/** One command. */
export interface Pending {
  readonly purpose: Purpose;
  /** `data`, JSON. */
  readonly data: string;
  readonly deadline: number | null;
  /** Not to be sent before. */
  holdUntil: number | null;
  /** How often it was sent. */
  sends: number;
  refusals: number;
  lastRefusal: ErrorData | null;
}

/** The earlier of two times, where there may be none. */
export function earlier(one: number | null, other: number | null): number | null {
  if (one === null) return other;
  return other === null ? one : Math.min(one, other);
}

/** All of them, by number. */
export class Commands {
  #pending = new Map<number, Pending>();
  #toSend: number[] = [];

  get size(): number {
    return this.#pending.size;
  }

  add(number: number, purpose: Purpose, data: string, deadline: number | null): void {
    this.#pending.set(number, { purpose, data, deadline, holdUntil: null, sends: 0, refusals: 0, lastRefusal: null });
    this.#toSend.push(number);
  }

  /** The next one to be sent. */
  next(): [number, Pending] | null {
    for (let number = this.#toSend[0]; number !== undefined; number = this.#toSend[0]) {
      const found = this.#pending.get(number);
      if (found) return [number, found];
      this.#toSend.shift();
    }
    return null;
  }

  /** Notes that `next` was handed to the connection. */
  sent(): void {
    const number = this.#toSend.shift();
    const found = number === undefined ? undefined : this.#pending.get(number);
    if (found) found.sends += 1;
  }

  get(number: number): Pending | undefined {
    return this.#pending.get(number);
  }

  take(number: number): Pending | undefined {
    const found = this.#pending.get(number);
    this.#pending.delete(number);
    return found;
  }

  /** The connection is lost: joins end with it, everything else is to be sent again. */
  connectionLost(): void {
    for (const [number, { purpose }] of this.#pending) {
      if (purpose.for === "join" || purpose.for === "nobody") this.#pending.delete(number);
    }
    for (const pending of this.#pending.values()) pending.holdUntil = null;
    this.#toSend = [...this.#pending.keys()];
  }

  /** Those whose time is over, taken out. */
  takeExpired(at: number): Pending[] {
    const expired = [...this.#pending].filter(([, { deadline }]) => deadline !== null && deadline <= at);
    for (const [number] of expired) this.#pending.delete(number);
    return expired.map(([, pending]) => pending);
  }

  /** Lets those go whose wait after a refusal is over. Gives the earliest time at which to look again. */
  release(at: number): number | null {
    let next: number | null = null;
    for (const [number, pending] of this.#pending) {
      if (pending.holdUntil !== null && pending.holdUntil <= at) {
        pending.holdUntil = null;
        this.#toSend.push(number);
      }
      next = earlier(next, earlier(pending.holdUntil, pending.deadline));
    }
    return next;
  }

  takeAll(): Pending[] {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    this.#toSend = [];
    return all;
  }
}
