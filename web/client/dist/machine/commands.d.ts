/** Commands that wait for their replies. Each is sent again, under its id, on every new connection. */
import type { ErrorData } from "../protocol.js";
/** What a command is for. */
export type Purpose = 
/** The user waits for the reply, under this key. */
{
    for: "user";
    key: number;
}
/** The user creates a session: its reply is a join as well. */
 | {
    for: "create";
    key: number;
}
/** Joins a session on the current connection; a new connection asks anew. */
 | {
    for: "join";
    session: string;
}
/** A newer token is to be accepted; a user may wait for that. */
 | {
    for: "refresh";
    key: number | null;
    token: string;
}
/** Nobody waits. */
 | {
    for: "nobody";
};
/** One command. */
export interface Pending {
    readonly purpose: Purpose;
    /** `data`, JSON. */
    readonly data: string;
    readonly deadline: number | null;
    /** Not to be sent before. */
    holdUntil: number | null;
    /** How often it was sent. */
    sends: number;
    refusals: number;
    lastRefusal: ErrorData | null;
}
/** The earlier of two times, where there may be none. */
export declare function earlier(one: number | null, other: number | null): number | null;
/** All of them, by number. */
export declare class Commands {
    #private;
    get size(): number;
    add(number: number, purpose: Purpose, data: string, deadline: number | null): void;
    /** The next one to be sent. */
    next(): [number, Pending] | null;
    /** Notes that `next` was handed to the connection. */
    sent(): void;
    get(number: number): Pending | undefined;
    take(number: number): Pending | undefined;
    /** The connection is lost: joins end with it, everything else is to be sent again. */
    connectionLost(): void;
    /** Those whose time is over, taken out. */
    takeExpired(at: number): Pending[];
    /** Lets those go whose wait after a refusal is over. Gives the earliest time at which to look again. */
    release(at: number): number | null;
    takeAll(): Pending[];
}
