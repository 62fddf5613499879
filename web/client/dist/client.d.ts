import { type ClientEvent, type ConnectOptions } from "./config.js";
import { type PublishOptions } from "./event.js";
import { Follow } from "./follow.js";
import type { Item } from "./item.js";
import type { StartAt } from "./machine/follow.js";
import type { Stats, Usage } from "./machine/outputs.js";
import { type Ended, type Outcome } from "./outcome.js";
import type { CreateSession, Envelope, GetSessionList, SystemMessage } from "./protocol.js";
import { type Reply } from "./replies.js";
import { Session } from "./session.js";
/** An event in the outbox. */
export interface Ticket {
    /** Its id. */
    id: string;
    /** What becomes of it. Never rejects. */
    outcome: Promise<Outcome>;
}
/** Where a client stands. */
export type ClientState = "connecting" | "connected" | "ended";
/**
 * A client of one server, over one connection at a time that it makes again whenever it is lost. Made by `connect` or
 * `open`; lives until `close`, or until it ends for good.
 */
export declare class Client {
    #private;
    /** Name of this producer. */
    readonly producerId: string;
    private constructor();
    /** @internal */
    static open(options: ConnectOptions): Promise<Client>;
    /** Creates a session. The client takes part in it as a publisher. */
    create(session: Omit<CreateSession, "follow">): Promise<Session>;
    /** Joins a session to publish in it, for as long as the client lives. */
    join(sessionId: string): Promise<Session>;
    /**
     * Follows a session from a place in its log: `"live"`, `"start"` or a position. At most one follow of a session at a time on
     * one client. With a listener, it is called for each item; what it throws ends the follow and is thrown by nobody else.
     */
    follow(sessionId: string, from: StartAt, listener?: (item: Item) => unknown): Promise<Follow>;
    /** Leaves a session: what waits to be published there is given up, its follow ends. */
    leave(sessionId: string): Promise<void>;
    /** idle → running. */
    start(sessionId: string): Promise<Reply<"session_started">>;
    /** running → paused. */
    pause(sessionId: string): Promise<Reply<"session_paused">>;
    /** paused → running. */
    resume(sessionId: string): Promise<Reply<"session_resumed">>;
    /** Ends the session. */
    stop(sessionId: string, outcome?: "completed" | "error", reason?: string): Promise<Reply<"session_stopped">>;
    /** One session's state. */
    getSessionInfo(sessionId: string): Promise<Reply<"session_info">["session"]>;
    /** A page of the sessions that the user may see, newest first. `nextCursor` is where the next page begins. */
    list(query?: GetSessionList): Promise<Pick<Reply<"session_list">, "sessions" | "nextCursor">>;
    /** A page of a session's log: whole messages as they were delivered. `limit` is 1 to 1000; `nextSeq` begins the next page. */
    getHistory(sessionId: string, fromSeq?: number, limit?: number): Promise<{
        events: Envelope[];
        nextSeq: number | null;
    }>;
    /** Gives the server a newer token of the same user, which later connections use as well. Gives when it ends, ms since 1970. */
    refreshToken(token: string): Promise<number | null>;
    /** Sends any command and gives its reply. It is sent again after a reconnect, under the same id. */
    command(data: {
        command: string;
    } & Record<string, unknown>): Promise<SystemMessage>;
    /** Publishes an event, and gives what became of it: stored, refused or unknown. */
    publish(sessionId: string, data: Record<string, unknown>, options?: PublishOptions): Promise<Outcome>;
    /**
     * Puts an event into the outbox. Resolves when it is there (and, with a durable outbox, is there after a crash); the ticket
     * tells what becomes of it. The client joins the session as a publisher if it has not. Rejects with `invalid`,
     * `outboxFull`, `ended`, `fenced` or `store`.
     */
    enqueue(sessionId: string, data: Record<string, unknown>, options?: PublishOptions): Promise<Ticket>;
    /** Puts an event into the outbox without asking for an ack: what becomes of it is not told. A durable outbox asks all the same. */
    publishUnacked(sessionId: string, data: Record<string, unknown>, options?: PublishOptions): Promise<void>;
    /** Waits until the outbox is empty: every publish has its outcome. */
    flush(): Promise<void>;
    /**
     * Closes the client: waits for what is in the outbox, for `closeTimeout` at most, then says goodbye. What has no outcome by
     * then is `unknown`; a durable outbox keeps it.
     */
    close(): Promise<void>;
    /** @internal Ends a client that nobody was given. */
    abandon(): Promise<void>;
    /** Calls back for all that happens to the client. Gives a function that ends this. */
    onEvent(listener: (event: ClientEvent) => void): () => void;
    /** Where the client stands. */
    get state(): ClientState;
    /** Why the client has ended for good, if it has. */
    get ended(): Ended | null;
    /** Round trip of the last heartbeat, ms, if there was one. */
    get latency(): number | null;
    /** Counters since the client was made. */
    get stats(): Stats;
    /** How full the outbox is. */
    get outbox(): Usage;
}
/**
 * Makes a client without waiting for its first connection: what is published meanwhile waits in the outbox. Rejects with
 * `invalid` or `store`.
 */
export declare function open(options: ConnectOptions): Promise<Client>;
/**
 * Connects. From then on the client stays connected by itself. Rejects with `invalid` for options that make no sense,
 * `ended` if the server turns the client away for good, `connect` if there is no connection within `connectPatience`, and
 * `store` if the durable outbox cannot be opened.
 */
export declare function connect(options: ConnectOptions): Promise<Client>;
