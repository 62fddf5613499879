/**
 * The way into the outbox: events wait here for room, and, where the outbox is durable, until they are written. They leave
 * in the order in which they came.
 *
 * ```text
 *   enqueue ─► waiting (for room) ─► writing (a group at a time) ─► machine
 * ```
 */
import type { Driver } from "./driver.js";
import type { Event } from "./event.js";
import type { Machine } from "./machine/machine.js";
import { ClientError, type Ended } from "./outcome.js";
import type { OpenedStore } from "./store/store.js";
/** An event on its way in. */
export interface Arriving {
    readonly session: string;
    readonly id: string;
    readonly event: Event;
    /** Comes back with its outcome; `null` if no ack is wanted. */
    readonly ticket: number | null;
    readonly timestamp: number;
    /** It is in the outbox. */
    accepted(): void;
    /** It is in the durable outbox, for the next client: this one has ended meanwhile. */
    kept(ended: Ended): void;
    /** It is not, and will not be. */
    rejected(error: ClientError): void;
}
/** Events that wait for the outbox. */
export declare class Intake {
    #private;
    constructor(machine: Machine, driver: Driver, store: OpenedStore | null, mayWait: boolean);
    /** Whether nothing is on its way. */
    get isEmpty(): boolean;
    add(arriving: Arriving): void;
    /** Something has left the outbox, or the client has ended. */
    move(): void;
}
