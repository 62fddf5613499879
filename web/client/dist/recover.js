/** Events that an earlier client left in a durable outbox. */
import { utf8Length } from "./codec.js";
/** The event as it was published. */
export function recover({ data, metadata }) {
    return { data, bytes: utf8Length(data), metadata: JSON.parse(metadata) };
}
//# sourceMappingURL=recover.js.map