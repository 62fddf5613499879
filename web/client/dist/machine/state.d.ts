/**
 * All that the machine remembers, and the small steps that every part of it takes. The parts are modules of functions
 * over this state: `connect`, `timeouts`, `receive`, `refusals`, `transmit`.
 */
import type { Item } from "../item.js";
import type { ClientError } from "../outcome.js";
import { type Ended } from "../outcome.js";
import type { Reconnect } from "../protocol.js";
import { Commands, type Purpose } from "./commands.js";
import type { Left } from "./outbox.js";
import type { Action, ConnectionEvent, Stats, Told, Usage } from "./outputs.js";
import { Participation } from "./participation.js";
import type { Now, Settings } from "./settings.js";
/** What the server has said before it closes. */
export interface Farewell {
    code: number;
    detail: string;
    reconnect: Reconnect;
    after: number;
}
/** One connection. */
export interface Connection {
    is: "open";
    /** When the server's first message came; `null` before. */
    liveSince: number | null;
    /** For the server's first message. */
    deadline: number;
    lastReceived: number;
    /** Silence after which it counts as dead. */
    silence: number | null;
    nextHeartbeat: number | null;
    /** Number and time of the heartbeat that was sent last. */
    heartbeat: {
        number: number;
        at: number;
    } | null;
    isHeartbeatDue: boolean;
    maxPayload: number;
    farewell: Farewell | null;
}
/** Where the client stands towards the server. */
export type Link = {
    is: "idle";
} | {
    is: "waiting";
    until: number;
    fetchToken: boolean;
} | {
    is: "fetchingToken";
    deadline: number;
} | {
    is: "connecting";
    deadline: number;
} | Connection | {
    is: "ended";
};
/** One client's state. */
export declare class State {
    readonly settings: Settings;
    /** 16 random digits in front of the ids that this machine makes. */
    readonly run: string;
    lastNumber: number;
    link: Link;
    /** Attempts in a row without any progress. */
    attempt: number;
    hasConnected: boolean;
    token: string | null;
    /** The token comes from the provider and no connection was made with it so far. */
    isTokenFresh: boolean;
    refreshAt: number | null;
    readonly sessions: Map<string, Participation>;
    readonly usage: Usage;
    readonly commands: Commands;
    /** Sessions with events to send, each once. */
    ready: string[];
    /** Sessions to be joined on this connection. */
    joins: string[];
    readonly actions: Action[];
    readonly told: Told[];
    wakeAt: number | null;
    ended: Ended | null;
    latency: number | null;
    readonly stats: Stats;
    constructor(settings: Settings);
    /** The connection, from the moment that there is a socket. */
    get connection(): Connection | null;
    get isConnected(): boolean;
    /** The session's state, begun if there is none. */
    participation(session: string): Participation;
    checkOpen(): void;
    /** `timeout` is to be called at `at`, or before. */
    wakeBy(at: number | null): void;
    tell(event: ConnectionEvent): void;
    give(follow: number, item: Item): void;
    fail(key: number, error: ClientError): void;
    /** Tells a command's sender, if somebody waits, that it failed. */
    failPurpose(purpose: Purpose, error: ClientError): void;
    /** An id that no other message has: `mark` tells events (`-`), commands (`c`) and heartbeats (`h`) apart. */
    newId(mark: "-" | "c" | "h"): string;
    /** The number in an id of this machine with this mark. */
    numberIn(mark: "c" | "h", id: unknown): number | null;
    sendCommand(now: Now, purpose: Purpose, data: Record<string, unknown>): void;
    /** Whatever has changed about a session: asks for its join, or lists it for sending, where that is due. */
    attend(session: string): void;
    /** An event has left the outbox. */
    settle(left: Left): void;
    /** Events without an ack that are done. */
    releaseUnacked(found: Participation): void;
    /** Tells all who wait for a session, or follow it, that this is over. */
    dissolve(found: Participation, error: ClientError): void;
}
