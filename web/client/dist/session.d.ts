/** One session by name, so that its id need not be said again and again. */
import type { Client, Ticket } from "./client.js";
import type { PublishOptions } from "./event.js";
import type { Follow } from "./follow.js";
import type { Item } from "./item.js";
import type { StartAt } from "./machine/follow.js";
import type { Outcome } from "./outcome.js";
import type { SessionInfo } from "./protocol.js";
/** A session that was created or joined. Every method is that of {@link Client} for this session. */
export declare class Session {
    #private;
    /** Its name. */
    readonly id: string;
    /** Its state when it was created or joined; `client.getSessionInfo` asks anew. */
    readonly info: SessionInfo;
    /** @internal */
    constructor(client: Client, info: SessionInfo);
    /** Publishes an event, and gives what became of it: stored, refused or unknown. */
    publish(data: Record<string, unknown>, options?: PublishOptions): Promise<Outcome>;
    /** Puts an event into the outbox; the ticket tells what becomes of it. */
    enqueue(data: Record<string, unknown>, options?: PublishOptions): Promise<Ticket>;
    /** Follows it from a place in its log. */
    follow(from: StartAt, listener?: (item: Item) => unknown): Promise<Follow>;
    /** idle → running. */
    start(): Promise<void>;
    /** running → paused. */
    pause(): Promise<void>;
    /** paused → running. */
    resume(): Promise<void>;
    /** Ends it. */
    stop(outcome?: "completed" | "error", reason?: string): Promise<void>;
    /** Leaves it: what waits to be published there is given up, its follow ends. */
    leave(): Promise<void>;
}
