/** What every durable outbox does while it is in use: removes in groups, and ends in good order. */
import { ClientError } from "../outcome.js";
import type { OpenedStore, StoredEvent } from "./store.js";

/** Settled events wait this long for others before they are removed, ms. */
const REMOVE_AFTER = 50;

/** The part that differs from place to place. */
export interface Place {
  readonly producerId: string;
  readonly events: StoredEvent[];
  append(events: readonly StoredEvent[]): Promise<void>;
  remove(ids: readonly string[]): Promise<void>;
  check(): Promise<void>;
  onFenced(listener: (error: ClientError) => void): void;
  close(): Promise<void>;
}

/** A durable outbox in use. */
export class InUse implements OpenedStore {
  readonly producerId: string;
  readonly events: StoredEvent[];
  readonly #place: Place;
  #settled: string[] = [];
  #removal: ReturnType<typeof setTimeout> | undefined;
  /** What is under way. */
  #last: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | null = null;

  constructor(place: Place) {
    this.#place = place;
    this.producerId = place.producerId;
    this.events = place.events;
  }

  append(events: readonly StoredEvent[]): Promise<void> {
    const appended = this.#place.append(events);
    this.#last = Promise.allSettled([this.#last, appended]);
    return appended;
  }

  check(): Promise<void> {
    return this.#place.check();
  }

  onFenced(listener: (error: ClientError) => void): void {
    this.#place.onFenced(listener);
  }

  remove(id: string): void {
    this.#settled.push(id);
    this.#removal ??= setTimeout(() => {
      this.#last = Promise.allSettled([this.#last, this.#removeSettled()]);
    }, REMOVE_AFTER);
  }

  async #removeSettled(): Promise<void> {
    clearTimeout(this.#removal);
    this.#removal = undefined;
    const ids = this.#settled;
    this.#settled = [];
    try {
      if (ids.length > 0) await this.#place.remove(ids);
    } catch (error) {
      // They stay, and are removed with the next ones, or sent again and stored once.
      const isOver = error instanceof ClientError && error.ended !== undefined;
      if (!isOver) this.#settled.unshift(...ids);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    await this.#last;
    await this.#removeSettled();
    await this.#place.close();
  }
}

/** The error of a client whose durable outbox has a newer owner. */
export function fenced(): ClientError {
  const detail = "a newer client has taken over this outbox and sends what is left in it. To publish side by side, give each its own outbox";
  return new ClientError("fenced", detail, { ended: { kind: "fenced", detail } });
}

/** The error of a client whose durable outbox is gone. */
export function lost(reason: string): ClientError {
  const detail = `the durable outbox is lost: ${reason}. What was in it and is not acked has to be published again`;
  return new ClientError("store", detail, { ended: { kind: "store", detail } });
}

/** What has gone wrong with the place, for the user. */
export function storeError(error: unknown): ClientError {
  if (error instanceof ClientError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new ClientError("store", `the durable outbox cannot be read or written: ${detail}`, { cause: error });
}
