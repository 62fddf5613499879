import type { Metadata } from "./item.js";
/** What is refused first under overload; never changes the order in a session. */
export type Priority = NonNullable<Metadata["priority"]>;
/** How an event is to be handled. */
export interface PublishOptions {
    /** Its id; made if left out. The same producer publishing the same id again stores it once. 1–128 visible characters. */
    id?: string;
    /** What is refused first under overload; never changes the order in a session. */
    priority?: Priority;
    /** Readers who have not got it this long (ms) after the server took it do not get it any more. At most a day. */
    ttl?: number;
    /** W3C trace context, passed on to readers. */
    traceparent?: string;
}
/** An event, checked and written as JSON once, so that every send of it is the same. */
export interface Event {
    /** The content: the text of one JSON object. */
    readonly data: string;
    /** Its size in UTF-8. */
    readonly bytes: number;
    /** Handling instructions that are sent along; no `requiresAck` or `retryCount` among them. */
    readonly metadata: Metadata;
}
/** Whether a text may be an id: 1–128 visible characters, no white space. */
export declare function isVisible(text: string): boolean;
/** Checks an event and writes its content. Throws `invalid` if it cannot be sent. */
export declare function makeEvent(data: Record<string, unknown>, options: PublishOptions): Event;
