import type { OutboxStore } from "./store.js";
/** How a durable outbox is kept. */
export interface IndexedDbOptions {
    /**
     * Name of the outbox, unique in its origin. Two clients that are to publish side by side (two tabs) need two names.
     * `"default"` if left out.
     */
    name?: string;
    /**
     * `"strict"`, the default, asks the browser to have an event on the disk before it counts as accepted: it survives a
     * power loss. `"relaxed"` leaves it to the operating system: quicker, and survives the crash of the browser.
     */
    durability?: "strict" | "relaxed";
}
/** A durable outbox in IndexedDB. */
export declare function indexedDbOutbox(options?: IndexedDbOptions): OutboxStore;
