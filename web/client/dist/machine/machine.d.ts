/**
 * The connection machine: everything that a client decides, without IO, clock or randomness of its own.
 *
 * It owns the outbox of every session, the commands that wait for replies, the place of every follow, the waits between
 * attempts and all deadlines. A driver owns the socket and the clock, and does what it is told:
 *
 * ```text
 *   opened, received, closed, unreachable, token ──►┌─────────┐──► pollAction   connect, disconnect, fetch a token
 *   publish, command, follow, close ───────────────►│ Machine │──► transmit     frames for the socket
 *   timeout ───────────────────────────────────────►└─────────┘──► pollTold     outcomes, replies, items
 *                                                              └─► nextTimeout  when to call timeout
 * ```
 *
 * After every input the driver asks for all outputs until there are none. All times are in ms.
 *
 * **Order.** The events of one session are sent in the order in which they were published, on every connection anew from
 * the first one that is not acked, and only after the join on that connection was answered. A refusal that is worth a
 * retry stops the session: when its wait is over, that event and all behind it are sent again.
 */
import type { Frame } from "../codec.js";
import type { Event } from "../event.js";
import { type Ended } from "../outcome.js";
import { type StartAt } from "./follow.js";
import type { Action, Stats, Told, Usage } from "./outputs.js";
import type { Now, Settings } from "./settings.js";
/** An event on its way into the outbox. */
export interface Publish {
    /** Its session. */
    session: string;
    /** Its id; made if it is `null`. */
    id: string | null;
    /** Its content. */
    event: Event;
    /** Comes back with its outcome; `null` if no ack is wanted. */
    ticket: number | null;
    /** It comes from an earlier life of the client, which may have sent it then: when it was published, ms since 1970. */
    recoveredFrom?: number;
}
/** One client. */
export declare class Machine {
    #private;
    constructor(settings: Settings);
    /** Begins with the first attempt to connect. */
    start(now: Now): void;
    /** There is a socket that speaks `protocol`. */
    opened(now: Now, protocol: string): void;
    /** The socket has ended: with the code of a close frame, or `null` without one. Or the attempt has failed. */
    closed(now: Now, code: number | null, reason: string): void;
    /** The server answered the attempt with another HTTP status than 101. `retryAfter` in ms. */
    refused(now: Now, status: number, retryAfter: number | null, body: string): void;
    /** There is no socket to be had. */
    unreachable(now: Now, detail: string): void;
    /** A frame has arrived. */
    received(now: Now, frame: unknown): void;
    /** The server has been heard in a way that is no message: a ping. */
    heard(now: Now): void;
    /** The provider's answer. */
    token(now: Now, answer: {
        token: string;
    } | {
        error: string;
    }): void;
    /** Does what is due. To be called at `nextTimeout`; a call too many does no harm. */
    timeout(now: Now): void;
    /** What the driver has to do next. */
    pollAction(): Action | undefined;
    /** What the user has to be told next. */
    pollTold(): Told | undefined;
    /** The next frame for the open connection, if there is one. What it gave must be sent, in order. */
    transmit(now: Now): Frame | null;
    /** When `timeout` has to be called, at the latest. */
    get nextTimeout(): number | null;
    /** Why the client has ended, if it has. */
    get ended(): Ended | null;
    /** Whether a connection is ready for use. */
    get isConnected(): boolean;
    /** Round trip of the last heartbeat, ms. */
    get latency(): number | null;
    /** Counters. */
    get stats(): Stats;
    /** How full the outbox is. */
    get usage(): Usage;
    /** Whether nothing is left to be sent or answered. */
    get isIdle(): boolean;
    /** An id that no other event has. */
    newEventId(): string;
    /**
     * Makes room for an event with `bytes` of data, beside what is promised to others already, as the policy says. `false`:
     * there is none.
     */
    makeRoom(session: string, bytes: number, promised?: Usage): boolean;
    /**
     * Takes an event into the outbox; room was made before. With a ticket, an ack is wanted, and what becomes of the event
     * is told. The session is joined as a publisher if it is not. Gives the event's id; throws `ended`.
     */
    publish(now: Now, { session, id, event, ticket, recoveredFrom }: Publish): string;
    /** Sends a command; its reply is told under `key`. Throws `ended`. */
    command(now: Now, key: number, data: {
        command: string;
    } & Record<string, unknown>): void;
    /** Joins a session as a publisher, for as long as the client lives; the join is told under `key`. Throws `ended`. */
    join(now: Now, key: number, session: string): void;
    /** Follows a session; the join is told under `key`, the items under `follow`. Throws `ended`, `alreadyFollowing`. */
    follow(now: Now, key: number, follow: number, session: string, start: StartAt): void;
    /**
     * A follow's reader has more than enough (`true`), or room again (`false`). Meanwhile the server sends it nothing; it
     * goes on from its place afterwards. This is how memory stays bounded where a socket cannot be left unread.
     */
    setPaused(session: string, follow: number, isPaused: boolean): void;
    /** Ends a follow. Nothing is told of it any more. */
    unfollow(now: Now, session: string, follow: number): void;
    /**
     * Leaves a session: what waits to be published there is given up, its follow ends. The reply is told under `key`.
     * Throws `ended`.
     */
    leave(now: Now, key: number, session: string): void;
    /** Ends the client. What is outstanding is given up. */
    close(why?: Ended): void;
}
