/** What to do after a connection has ended, or did not come about: a table. */
import type { Disconnected } from "../item.js";
import type { Ended } from "../outcome.js";
import type { Reconnect } from "../protocol.js";
/** How a connection ended. */
export type Lost = 
/** The socket failed, or ended without a close. */
{
    how: "io";
    detail: string;
}
/** The server could not be reached. */
 | {
    how: "unreachable";
    detail: string;
}
/** The connection was not ready in time. */
 | {
    how: "tooSlow";
}
/** Nothing was received for too long. */
 | {
    how: "silent";
}
/** The server answered the upgrade with another status than 101. `retryAfter` in ms. */
 | {
    how: "http";
    status: number;
    retryAfter: number | null;
    body: string;
}
/** The server's messages are not what the protocol allows. */
 | {
    how: "violation";
    detail: string;
}
/** The server closed it; `asked` is what its `disconnecting` message asked for before. */
 | {
    how: "closed";
    code: number | null;
    reason: string;
    asked: {
        reconnect: Reconnect;
        after: number;
    } | null;
};
/** What follows. */
export type Verdict = 
/** Try again after the usual backoff, and not before this time, ms. */
{
    then: "retry";
    after: number;
}
/** Get a new token, then try again. */
 | {
    then: "newToken";
}
/** The token was refused: a new one helps, if there is one. */
 | {
    then: "badToken";
    ended: Ended;
}
/** Never. */
 | {
    then: "end";
    ended: Ended;
};
/** Close code of a connection whose producer has a newer one. */
export declare const REPLACED = 4409;
/** What follows the end of a connection. */
export declare function verdict(lost: Lost): Verdict;
/** The same for the user. */
export declare function describe(lost: Lost): Disconnected;
