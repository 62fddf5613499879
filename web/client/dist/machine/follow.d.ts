/** A reader's place in a session's log, and what each message from the server does to it. */
import type { GapItem, Item, ViolationItem } from "../item.js";
import type { Joined, Position } from "../protocol.js";
/** Where a follow begins: with what comes from now on, with the log's first entry, or behind a position. */
export type StartAt = "live" | "start" | Position;
/** What to do with an entry of the log that arrived. */
export type Arrival = 
/** It is the next one. */
{
    is: "next";
}
/** The user has it. */
 | {
    is: "repeat";
}
/** It was left out before, and the user has later ones. */
 | {
    is: "late";
}
/** It is the next one but for a hole that nothing explains. */
 | {
    is: "hole";
    violation: ViolationItem;
};
/** One follow. */
export declare class Following {
    #private;
    readonly key: number;
    /** Whether the current connection delivers to it. */
    isLive: boolean;
    /** Whether its reader has more than enough: it gets nothing until there is room. */
    isPaused: boolean;
    constructor(key: number, start: StartAt);
    /** What to ask for in the next join. */
    from(): StartAt;
    /** Nothing more is taken until a join is answered that was asked for after the pause; the place stays where it is. */
    pause(): void;
    /** There is room again. */
    unpause(): void;
    /** Whether what arrives is left for later. */
    get isHeld(): boolean;
    /** The connection is gone, and with it the deliveries. Tells whether there were any. */
    connectionLost(): boolean;
    /** The join was answered. Gives what the user has to know, if it is not the first one. */
    joined(joined: Joined): Item | null;
    /** An entry of the log arrived; `id` is its id. */
    arrived(seq: number, id: string): Arrival;
    /** A gap was said. Gives the hole that it leaves before it, if there is one. */
    skipped(gap: GapItem): ViolationItem | null;
}
