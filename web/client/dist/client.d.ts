import { type ClientEvent, type ConnectOptions } from "./config.js";
import { Commands } from "./commands.js";
import { type PublishOptions } from "./event.js";
import { Follow } from "./follow.js";
import type { Item } from "./item.js";
import type { StartAt } from "./machine/follow.js";
import type { Stats, Usage } from "./machine/outputs.js";
import { type Ended, type Outcome } from "./outcome.js";
import type { CreateSession, SystemMessage } from "./protocol.js";
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
export declare class Client extends Commands {
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
     * one client. With a listener, it is called for each item; what it throws ends the follow, and is reported as an unhandled
     * rejection.
     */
    follow(sessionId: string, from: StartAt, listener?: (item: Item) => unknown): Promise<Follow>;
    /** Leaves a session: what waits to be published there is given up, its follow ends. */
    leave(sessionId: string): Promise<void>;
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
