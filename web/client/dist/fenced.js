/** The end of a client whose durable outbox has a newer owner. */
import { ClientError } from "./outcome.js";
/** The error that it gets. */
export function fenced() {
    const detail = "a newer client has taken over this outbox and sends what is left in it. To publish side by side, give each its own outbox";
    return new ClientError("fenced", detail, { ended: { kind: "fenced", detail } });
}
//# sourceMappingURL=fenced.js.map