/** What the client does in one session: it publishes, follows, or both, over one join per connection. */
import type { Following, StartAt } from "./follow.js";
import { Outbox } from "./outbox.js";

/** Where the join stands on the current connection. */
export type Join =
  /** Not asked for. */
  | { is: "no" }
  /** Asked for; `follow` is for whom events were asked for, `number` the command's, 0 until it is sent. */
  | { is: "asked"; follow: number | null; number: number }
  /** Refused for now, to be asked for again then. */
  | { is: "held"; until: number }
  /** Answered; `follow` is who gets the events. */
  | { is: "done"; follow: number | null };

/** Somebody who waits for the join. */
export interface Waiter {
  readonly key: number;
  readonly deadline: number;
  /** The follow that it waits for; `null` if any join will do. */
  readonly follow: number | null;
}

/** One session's state. */
export class Participation {
  readonly session: string;
  join: Join = { is: "no" };
  /** Refusals of the join in a row. */
  joinRefusals = 0;
  /** The user wants to publish, now or later. */
  publisher = false;
  follow: Following | null = null;
  waiters: Waiter[] = [];
  readonly outbox = new Outbox();
  /** In the machine's list of sessions with something to send. */
  isListed = false;

  constructor(session: string) {
    this.session = session;
  }

  /** Whether a join has to be asked for on a connection that is ready. */
  needsJoin(): boolean {
    if (this.join.is === "no") return this.isWanted();
    return this.join.is === "done" && this.join.follow !== this.wantedFollow();
  }

  /** The follow that events are wanted for. */
  wantedFollow(): number | null {
    return this.follow && !this.follow.isPaused ? this.follow.key : null;
  }

  isWanted(): boolean {
    return this.publisher || this.follow !== null || this.outbox.size > 0;
  }

  /** What to ask for. */
  wanted(): { follow: boolean; from: StartAt } {
    return this.follow && !this.follow.isPaused ? { follow: true, from: this.follow.from() } : { follow: false, from: "live" };
  }

  /** Whether events may be sent now. */
  canPublish(window: number): boolean {
    return this.join.is === "done" && this.outbox.isReady(window);
  }
}
