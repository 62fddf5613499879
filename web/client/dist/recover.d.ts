import type { Event } from "./event.js";
import type { StoredEvent } from "./store/store.js";
/** The event as it was published. */
export declare function recover({ data, metadata }: StoredEvent): Event;
