/** What is published: an event's content and how it is to be handled. */
import { utf8Length } from "./codec.js";
import { ClientError } from "./outcome.js";
/** Longest id of a message and longest producer id, in characters. */
const MAX_ID_CHARS = 128;
/** Longest time to live, ms (one day). */
const MAX_TTL = 86_400_000;
/** Whether a text may be an id: 1–128 visible characters, no white space. */
export function isVisible(text) {
    return text.length > 0 && text.length <= MAX_ID_CHARS && !/[\s\p{Cc}]/u.test(text);
}
/** Checks an event and writes its content. Throws `invalid` if it cannot be sent. */
export function makeEvent(data, options) {
    if (options.id !== undefined && !isVisible(options.id)) {
        throw new ClientError("invalid", `an event's id must have 1 to ${MAX_ID_CHARS} visible characters`);
    }
    const { ttl } = options;
    if (ttl !== undefined && !(Number.isInteger(ttl) && ttl >= 0 && ttl <= MAX_TTL)) {
        throw new ClientError("invalid", `an event's ttl must be a whole number of ms, at most ${MAX_TTL}`);
    }
    const text = writeObject(data);
    const metadata = {};
    if (options.priority !== undefined && options.priority !== "normal")
        metadata.priority = options.priority;
    if (ttl !== undefined)
        metadata.ttl = ttl;
    if (options.traceparent !== undefined)
        metadata.traceparent = options.traceparent;
    return { data: text, bytes: utf8Length(text), metadata };
}
/** For functions and the like there is no text, whatever the library's type says. */
const write = JSON.stringify;
function writeObject(data) {
    let text;
    try {
        text = write(data);
    }
    catch (cause) {
        throw new ClientError("invalid", `data cannot be written as JSON: ${String(cause)}`, { cause });
    }
    if (!text?.startsWith("{"))
        throw new ClientError("invalid", "data must be a JSON object");
    return text;
}
//# sourceMappingURL=event.js.map