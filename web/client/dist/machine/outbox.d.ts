/**
 * The events of one session that wait for their acks, in the order in which they were published.
 *
 * ```text
 *   front ─ sent, ack awaited ─┬─ to be sent ─ back
 *                              └ `inFlight` counts those before it
 * ```
 * A refusal that is worth a retry, or a new connection, moves the mark back, so that everything from there on is sent
 * again in order; what the log has already is acked as a duplicate. Events without an ack stay until those before them
 * are acked, so that they keep their place.
 */
import type { GaveUp, Outcome } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import type { Event } from "../event.js";
/** One published event. */
export interface Entry {
    readonly id: string;
    readonly event: Event;
    /** When it was published, ms since 1970. */
    readonly timestamp: number;
    readonly deadline: number | null;
    /** Whom to tell; `null` if no ack is wanted. */
    readonly ticket: number | null;
    /** How often it was handed to a connection. */
    sends: number;
    /** A send of it was never answered, or answered in a way that leaves open whether it is stored. */
    inDoubt: boolean;
    refused: number;
    lastRefusal: ErrorData | null;
}
/** What left an outbox. */
export interface Left {
    readonly ticket: number | null;
    readonly outcome: Outcome;
    readonly bytes: number;
}
/** What a refusal of an event asks for. */
export type Refusal = 
/** No such event (its ack was not wanted, or it was given up). */
{
    then: "notFound";
}
/** Its outcome is settled. */
 | {
    then: "settled";
    left: Left;
}
/** To be sent again after a wait; `before` is the number of earlier refusals. */
 | {
    then: "retry";
    before: number;
}
/** It waits to be sent again already. */
 | {
    then: "waiting";
};
/** One session's events on their way to the log. */
export declare class Outbox {
    #private;
    /** Nothing is sent before. */
    holdUntil: number | null;
    get size(): number;
    push(entry: Entry): void;
    /** Whether an event could be sent now, with at most `window` in flight. */
    isReady(window: number): boolean;
    /** The next event to be sent. */
    next(): Entry | undefined;
    /** Notes that `next` was handed to the connection. */
    sent(): void;
    /** Takes the next event out: it cannot be sent. */
    refuseNext(refusal: ErrorData): Left | null;
    /** The front event without an ack that is sent and has nothing before it: it is done. Gives its bytes. */
    popUnacked(): number | null;
    /** Takes an acked event out. Acks come in order, so it is nearly always the first. */
    acked(id: string): Entry | null;
    /** Takes note of a refusal. */
    refused(id: string, refusal: ErrorData, mostRetries: number | null): Refusal;
    /** The connection is lost: everything is to be sent again. */
    connectionLost(): void;
    /** When the first event is given up. All events wait equally long, so it is the oldest. */
    nextDeadline(): number | null;
    /** Takes out the first event if its time is over. */
    popExpired(at: number): Left | null;
    /** Takes out the oldest event that was never sent. */
    dropOldestUnsent(): Left | null;
    /** Takes out everything, given up. */
    giveUpAll(why: GaveUp): Left[];
    /** Takes out everything: the session takes no events from us. */
    refuseAll(refusal: ErrorData): Left[];
}
