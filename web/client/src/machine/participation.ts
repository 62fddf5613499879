/** What the client does in one session: it publishes, follows, or both, over one join per connection. */
import type { Following } from "./follow.js";
import type { Entry } from "./outbox.js";
import type { Answered } from "./outputs.js";

/** Somebody who waits for the join. */
export interface Waiter {
  readonly answered: Answered;
  readonly deadline: number;
  /** The follow that it waits for; `null` if any join will do. */
  readonly wants: Following | null;
}

/** One session's state. */
export class Participation {
  readonly session: string;
  /** Where the join stands on the current connection: not asked for, asked for, refused for now, answered. */
  join: "no" | "asked" | "held" | "done" = "no";
  /** Whom events were asked for with the join. */
  joinedFor: Following | null = null;
  /** When a join that was refused for now is asked for again. */
  joinAgainAt = Infinity;
  /** Refusals of the join in a row. */
  joinRefusals = 0;
  /** The user wants to publish, now or later. */
  isPublisher = false;
  follow: Following | null = null;
  waiters: Waiter[] = [];
  /** Its events: see `outbox`. */
  readonly entries: Entry[] = [];
  inFlight = 0;
  /** The server has answered to an event of it on this connection. */
  isMoving = false;
  /** No event is sent before; `Infinity` if nothing holds them. */
  holdUntil = Infinity;

  constructor(session: string) {
    this.session = session;
  }

  /** Whether a join has to be asked for on a connection that is ready. */
  needsJoin(): boolean {
    return this.join === "no" ? this.isWanted() : this.join === "done" && this.joinedFor !== this.wantedFollow();
  }

  /** The follow that events are wanted for. */
  wantedFollow(): Following | null {
    return this.follow?.isPaused ? null : this.follow;
  }

  isWanted(): boolean {
    return this.isPublisher || this.follow !== null || this.entries.length > 0;
  }

  /** Whether an event could be sent now, with at most `window` in flight. */
  canPublish(window: number): boolean {
    return this.join === "done" && this.holdUntil === Infinity && this.inFlight < Math.min(this.entries.length, window);
  }
}
