/** One session by name, so that its id need not be said again and again. */
import type { Client } from "./client.js";
import type { PublishOptions } from "./event.js";
import type { Follow, FollowOptions } from "./follow.js";
import type { Item } from "./item.js";
import type { StartAt } from "./machine/follow.js";
import type { Outcome } from "./outcome.js";
import type { Replay, ReplayOptions } from "./replay.js";
import type { SessionInfo } from "./protocol.js";
import type { Reply } from "./replies.js";
import type { Ticket } from "./ticket.js";

/** A session that was created or joined. Every method is that of {@link Client} for this session. */
export class Session {
  /** Its name. */
  readonly id: string;
  /** Its state when it was created or joined; `client.getSessionInfo` asks anew. */
  readonly info: SessionInfo;
  readonly #client: Client;

  /** @internal */
  constructor(client: Client, info: SessionInfo) {
    this.#client = client;
    this.info = info;
    this.id = info.sessionId;
  }

  /** Publishes an event, and gives what became of it: stored, refused or unknown. */
  publish(data: Record<string, unknown>, options?: PublishOptions): Promise<Outcome> {
    return this.#client.publish(this.id, data, options);
  }

  /** Puts an event into the outbox; the ticket tells what becomes of it. */
  enqueue(data: Record<string, unknown>, options?: PublishOptions): Promise<Ticket> {
    return this.#client.enqueue(this.id, data, options);
  }

  /** Follows it from a place in its log to its end. */
  follow(from: StartAt, how?: FollowOptions | ((item: Item) => unknown)): Promise<Follow> {
    return this.#client.follow(this.id, from, how);
  }

  /** Replays it. */
  replay(options?: ReplayOptions): Promise<Replay> {
    return this.#client.replaySession(this.id, options);
  }

  /** idle → running. */
  start(): Promise<Reply<"session_started">> {
    return this.#client.start(this.id);
  }

  /** running → paused. */
  pause(): Promise<Reply<"session_paused">> {
    return this.#client.pause(this.id);
  }

  /** paused → running. */
  resume(): Promise<Reply<"session_resumed">> {
    return this.#client.resume(this.id);
  }

  /** Ends it. */
  stop(outcome?: "completed" | "error", reason?: string): Promise<Reply<"session_stopped">> {
    return this.#client.stop(this.id, outcome, reason);
  }

  /** Leaves it: what waits to be published there is given up, its follow ends. */
  leave(): Promise<void> {
    return this.#client.leave(this.id);
  }
}
