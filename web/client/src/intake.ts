/**
 * The way into the outbox: events wait here for room, and, where the outbox is durable, until they are written. They leave
 * in the order in which they came.
 *
 * ```text
 *   enqueue ─► waiting (for room) ─► writing (a group at a time) ─► machine
 * ```
 */
import type { Driver } from "./driver.js";
import type { Event } from "./event.js";
import type { Usage } from "./machine/outputs.js";
import { close, makeRoom, publish } from "./machine/requests.js";
import type { State } from "./machine/state.js";
import { ClientError, type Ended, hasEnded } from "./outcome.js";
import type { OpenedStore } from "./store/store.js";

/** An event on its way in. */
export interface Arriving {
  readonly session: string;
  readonly id: string;
  readonly event: Event;
  /** Comes back with its outcome; `null` if no ack is wanted. */
  readonly ticket: number | null;
  readonly timestamp: number;
  /** It is in the outbox. */
  accepted(): void;
  /** It is in the durable outbox, for the next client: this one has ended meanwhile. */
  kept(ended: Ended): void;
  /** It is not, and will not be. */
  rejected(error: ClientError): void;
}

/** Events that wait for the outbox. */
export class Intake {
  #waiting: Arriving[] = [];
  readonly #promised = { messages: 0, bytes: 0 };
  #isWriting = false;
  readonly #state: State;
  readonly #driver: Driver;
  readonly #store: OpenedStore | null;
  readonly #mayWait: boolean;

  constructor(state: State, driver: Driver, store: OpenedStore | null, mayWait: boolean) {
    this.#state = state;
    this.#driver = driver;
    this.#store = store;
    this.#mayWait = mayWait;
  }

  /** Whether nothing is on its way. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#promised.messages === 0;
  }

  add(arriving: Arriving): void {
    const { ended } = this.#state;
    if (ended) return arriving.rejected(hasEnded(ended));
    if (!this.#mayWait && !makeRoom(this.#state, arriving.session, arriving.event.bytes, this.#ahead())) {
      return arriving.rejected(new ClientError("outboxFull", "the outbox is full"));
    }
    this.#waiting.push(arriving);
    this.move();
  }

  /** What has to find room before a new event does. */
  #ahead(): Usage {
    const ahead = { ...this.#promised };
    for (const { event } of this.#waiting) {
      ahead.messages += 1;
      ahead.bytes += event.bytes;
    }
    return ahead;
  }

  /** Something has left the outbox, or the client has ended. */
  move(): void {
    const { ended } = this.#state;
    if (ended) for (const arriving of this.#waiting.splice(0)) arriving.rejected(hasEnded(ended));
    else if (!this.#isWriting) void this.#write();
  }

  /** The next event that there is room for. */
  #admit(): Arriving | null {
    const [first] = this.#waiting;
    if (!first || !makeRoom(this.#state, first.session, first.event.bytes, this.#promised)) return null;
    this.#waiting.shift();
    return first;
  }

  async #write(): Promise<void> {
    const group: Arriving[] = [];
    for (let next = this.#admit(); next; next = this.#admit()) {
      group.push(next);
      this.#promised.messages += 1;
      this.#promised.bytes += next.event.bytes;
    }
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
    this.#promised.messages = this.#promised.bytes = 0;
    if (problem?.kind === "fenced") this.#end(problem.message);
    for (const arriving of group) this.#hand(arriving, problem);
    // Also where nothing was handed on: somebody may wait for the end of it.
    this.#driver.run(() => {
      this.move();
    });
  }

  #end(detail: string): void {
    this.#driver.run(close, { kind: "fenced", detail });
  }

  #hand(arriving: Arriving, problem: ClientError | null): void {
    const { session, id, event, ticket } = arriving;
    const { ended } = this.#state;
    if (problem) return arriving.rejected(problem);
    if (ended) return arriving.kept(ended);
    this.#driver.run(publish, { session, id, event, ticket });
    arriving.accepted();
  }
}
