/** From one connection to the next: attempts, waits, tokens, the end. */
import { type Ended } from "../outcome.js";
import { type Now } from "./settings.js";
import type { State } from "./state.js";
import { type Lost } from "./verdict.js";
/** Wait before a failed renewal is tried again, ms. */
export declare const RENEW_AGAIN = 10000;
/** Close codes that a client may use: the end that the user wished for, and a message that makes no sense. */
export declare const CLOSE_NORMAL = 1000;
export declare const CLOSE_INVALID = 4000;
/** Begins an attempt to connect, with a new token if that is needed. */
export declare function begin(state: State, now: Now, fetchToken: boolean): void;
/** There is a socket that speaks `protocol`. */
export declare function opened(state: State, now: Now, protocol: string): void;
/** The provider's answer. */
export declare function token(state: State, now: Now, answer: {
    token: string;
} | {
    error: string;
}): void;
/** Gives the server a newer token. */
export declare function refresh(state: State, now: Now, key: number | null, newer: string): void;
export declare function renewAt(state: State, at: number): void;
/** The token ends at `expiresAt`, ms since 1970: a new one is fetched before, if there is a provider. */
export declare function expectExpiry(state: State, now: Now, expiresAt: number | null): void;
/** What the server's first message says. */
export interface Greeting {
    clientId: string;
    node: string;
    heartbeatInterval: number;
    maxPayload: number;
    tokenExpiresAt: number | null;
}
/** The server's first message: the connection is ready. */
export declare function established(state: State, now: Now, greeting: Greeting): void;
/** The server did something that only a server does which is there and well: the next attempt is a first one. */
export declare function progress(state: State): void;
/** The socket has ended: with a close frame's code, or without one. */
export declare function closed(state: State, now: Now, code: number | null, reason: string): void;
/** The connection is over, or did not come about. */
export declare function lost(state: State, now: Now, why: Lost): void;
/** Ends the client for good. What is outstanding is given up. */
export declare function end(state: State, why: Ended): void;
