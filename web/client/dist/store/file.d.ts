import type { OutboxStore } from "./store.js";
/** How a durable outbox is kept. */
export interface FileOutboxOptions {
    /** The folder; made if it is not there. One folder for each producer. */
    directory: string;
    /**
     * `"each"`, the default, calls `fdatasync` after each group of appends: a confirmed event survives a power loss. `"none"`
     * leaves the flush to the operating system: it survives a crash of the process only, and is quicker.
     */
    sync?: "each" | "none";
}
/** A durable outbox in a folder. */
export declare function fileOutbox(options: FileOutboxOptions): OutboxStore;
