/** A session being followed, as an async iterator or by callback. */
import type { Item } from "./item.js";
import type { ClientError } from "./outcome.js";
import type { Joined, Position } from "./protocol.js";
/** What a follow asks of its client. */
export interface FollowHost {
    /** The reader has more than enough, or room again. */
    pause(isPaused: boolean): void;
    /** The reader is gone. */
    leave(): void;
}
/**
 * One session being followed: every entry of its log once and in order, or a gap that says why not. It goes on by itself
 * over reconnects, until it is closed, or ends with an error.
 *
 * ```ts
 * for await (const item of follow) if (item.type === "event") console.log(item.seq, item.data);
 * ```
 */
export declare class Follow implements AsyncIterable<Item> {
    #private;
    /** The session. */
    readonly sessionId: string;
    /** @internal */
    constructor(sessionId: string, limit: number, host: FollowHost);
    /** What the server answered to the join. */
    get joined(): Joined;
    /**
     * How far the reader has come: behind the last item that it took. Kept somewhere, it is where another follow goes on
     * without missing or repeating anything.
     */
    get position(): Position;
    /** The next item; waits for it. `done` after the end. Rejects with the error that has ended the follow. */
    next(): Promise<IteratorResult<Item, undefined>>;
    /** Calls back for each item, one after the other: a promise that it gives is waited for. Resolves at the end. */
    forEach(listener: (item: Item) => unknown): Promise<void>;
    /** The items, one after the other. Leaving the loop closes the follow. */
    [Symbol.asyncIterator](): AsyncIterator<Item, undefined>;
    /** Ends the follow. What was not read is dropped. */
    close(): void;
    /** @internal */
    setJoined(joined: Joined): void;
    /** @internal */
    push(item: Item): void;
    /** @internal What is in the buffer can still be read. */
    end(error: ClientError | null): void;
}
