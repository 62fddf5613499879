import { ClientError } from "./outcome.js";
import type { OpenedStore, StoredEvent } from "./store/store.js";
/** A store in use. */
export declare class Durable {
    private readonly store;
    private settled;
    private removal;
    /** What is under way. */
    private last;
    private closing;
    constructor(store: OpenedStore);
    /** Appends events; resolves when they are durable. */
    append(events: readonly StoredEvent[]): Promise<void>;
    /** Asks whether this is still the owner. */
    check(): Promise<void>;
    /** Calls back once with the error when a newer owner is noticed. */
    onFenced(listener: (error: ClientError) => void): void;
    /** An event is settled: it need not be kept. */
    remove(id: string): void;
    private removeSettled;
    /** Removes what is settled, and ends the use of the store. */
    close(): Promise<void>;
    private finish;
}
