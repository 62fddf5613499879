import type { StoredEvent } from "./store.js";
/** One line. */
export type LogRecord = {
    producerId: string;
} | {
    event: StoredEvent;
} | {
    done: readonly string[];
};
/** What files say, one after the other. */
export interface LogContent {
    producerId: string | null;
    /** What is not settled, in the order in which it was published. */
    events: Map<string, StoredEvent>;
}
/** A record as a line. */
export declare function writeRecord(record: LogRecord): string;
/** Adds what a file says. Throws `store` if it is damaged. */
export declare function readLog(name: string, text: string, content: LogContent): void;
