/**
 * The way into the outbox: events wait here for room, and, where the outbox is durable, until they are written. They leave
 * in the order in which they came.
 *
 * ```text
 *   enqueue ─► waiting (for room) ─► writing (a group at a time) ─► machine
 * ```
 */
import type { Driver } from "./driver.js";
import { close } from "./machine/connect.js";
import type { Usage } from "./machine/outputs.js";
import { type Publish, makeRoom, publish } from "./machine/requests.js";
import { ClientError, hasEnded } from "./outcome.js";
import type { OpenedStore } from "./store/store.js";

/** An event on its way in. */
export interface Arriving extends Publish {
  /** When it was published, ms since 1970. */
  readonly timestamp: number;
  /** It is in the outbox. */
  readonly accepted: () => void;
  /** It is not, and will not be. */
  readonly rejected: (error: ClientError) => void;
}

/** Events that wait for the outbox. */
export class Intake {
  readonly #waiting: Arriving[] = [];
  /** All that are on their way: they have to find room before a new one does. */
  readonly #ahead: Usage = { messages: 0, bytes: 0 };
  #isWriting = false;
  readonly #driver: Driver;
  readonly #store: OpenedStore | null;
  readonly #mayWait: boolean;

  constructor(driver: Driver, store: OpenedStore | null, mayWait: boolean) {
    this.#driver = driver;
    this.#store = store;
    this.#mayWait = mayWait;
  }

  /** Whether nothing is on its way. */
  get isEmpty(): boolean {
    return this.#ahead.messages === 0;
  }

  add(arriving: Arriving): void {
    const { session, event, rejected } = arriving;
    const { state } = this.#driver;
    if (!state.ended && !this.#mayWait && !makeRoom(state, session, event.bytes, this.#ahead)) {
      return rejected(new ClientError("outboxFull", "the outbox is full"));
    }
    this.#waiting.push(arriving);
    this.#ahead.messages += 1;
    this.#ahead.bytes += event.bytes;
    this.move();
  }

  /** Something has left the outbox, or the client has ended. */
  move(): void {
    const { ended } = this.#driver.state;
    if (ended) for (const { rejected } of this.#waiting.splice(0)) rejected(hasEnded(ended));
    else if (!this.#isWriting) void this.#write();
  }

  /** Writes those that there is room for. */
  async #write(): Promise<void> {
    const driver = this.#driver;
    const promised: Usage = { messages: 0, bytes: 0 };
    for (const { session, event } of this.#waiting) {
      if (!makeRoom(driver.state, session, event.bytes, promised)) break;
      promised.messages += 1;
      promised.bytes += event.bytes;
    }
    const group = this.#waiting.splice(0, promised.messages);
    if (group.length === 0) return;
    this.#isWriting = true;
    let problem: ClientError | null = null;
    try {
      await this.#store?.append(group.map(({ id, session, timestamp, event }) => {
        return { id, sessionId: session, timestamp, data: event.data, metadata: JSON.stringify(event.metadata) };
      }));
    } catch (error) {
      problem = error instanceof ClientError ? error : new ClientError("store", String(error), { cause: error });
    }
    this.#isWriting = false;
    this.#ahead.messages -= promised.messages;
    this.#ahead.bytes -= promised.bytes;
    if (problem?.kind === "fenced") driver.run(close, { kind: "fenced", detail: problem.message });
    for (const arriving of group) this.#hand(arriving, problem);
    // Also where nothing was handed on: somebody may wait for the end of it.
    driver.run(() => this.move());
  }

  #hand(arriving: Arriving, problem: ClientError | null): void {
    const { ended } = this.#driver.state;
    const { ticket, accepted, rejected } = arriving;
    if (problem) return rejected(problem);
    // It is in the durable outbox, for the next client.
    if (ended) ticket?.({ status: "unknown", why: { kind: "ended", ended }, sent: false });
    else this.#driver.run(publish, arriving);
    accepted();
  }
}
