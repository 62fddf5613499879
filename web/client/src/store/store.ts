/**
 * What a durable outbox needs from the place where it lies. One client at a time owns it: the last one that opened it.
 *
 * ```text
 *   publish ─► append ─► (durable) ─► sent ─► acked ─► remove
 *                 │
 *                 └─ after a reload or a crash: open gives what was not removed, in order
 * ```
 */
import type { ClientError } from "../outcome.js";

/** An event as it is kept. */
export interface StoredEvent {
  /** Its id, under which it is sent. */
  id: string;
  /** Its session. */
  sessionId: string;
  /** When it was published, ms since 1970. */
  timestamp: number;
  /** Its content: the text of a JSON object. */
  data: string;
  /** Its handling instructions, JSON. */
  metadata: string;
}

/** An outbox that was opened. */
export interface OpenedStore {
  /** Name of the producer whose events these are. */
  producerId: string;
  /** Events of earlier owners that are not known to be settled, in the order in which they were published. */
  events: StoredEvent[];
  /**
   * Appends events, and resolves when they are durable. Rejects with `fenced` if there is a newer owner, and with `store`
   * if they cannot be written.
   */
  append(events: readonly StoredEvent[]): Promise<void>;
  /** An event is settled. It may be removed late: one that is there again after a crash is sent again, and stored once. */
  remove(id: string): void;
  /** Rejects with `fenced` if there is a newer owner. */
  check(): Promise<void>;
  /**
   * Calls back with the error when it is over for the client: `fenced` when a newer owner is noticed, if that can be noticed without
   * asking; `store` when the place is lost for good.
   */
  onFenced(listener: (error: ClientError) => void): void;
  /** Ends the use of it, after what is under way. What is there stays. Called twice, it ends once. */
  close(): Promise<void>;
}

/** Where a durable outbox lies. */
export interface OutboxStore {
  /**
   * Takes it over: from here on earlier owners are fenced. `producerId` is the name that a new outbox gets; one that has
   * another name already rejects with `invalid`.
   */
  open(producerId: string | null): Promise<OpenedStore>;
}
