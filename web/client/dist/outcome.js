/** Why something that was asked of a client was not done. */
export class ClientError extends Error {
    name = "ClientError";
    /** What kind of failure it is. */
    kind;
    /** The server's refusal, for `refused`. */
    refusal;
    /** Why the client has ended, for `ended` and `fenced`. */
    ended;
    /** `more` holds what belongs to the kind, and the error beneath it. */
    constructor(kind, message, more = {}) {
        super(message, more.cause === undefined ? undefined : { cause: more.cause });
        this.kind = kind;
        if (more.refusal)
            this.refusal = more.refusal;
        if (more.ended)
            this.ended = more.ended;
    }
    /** Whether the same may succeed later without a change. */
    get retryable() {
        if (this.refusal)
            return this.refusal.retryable;
        return ["timedOut", "outboxFull", "connect", "store"].includes(this.kind);
    }
}
/** The server refused it. */
export function refused(refusal) {
    return new ClientError("refused", `${refusal.code}: ${refusal.error}`, { refusal });
}
/** The client has ended. */
export function hasEnded(ended) {
    return new ClientError(ended.kind === "fenced" ? "fenced" : "ended", describeEnd(ended), { ended });
}
/** An end in words. */
export function describeEnd(ended) {
    switch (ended.kind) {
        case "closed":
            return "the client was closed";
        case "dismissed":
            return `the server closed the connection for good (${ended.code ?? "no code"}): ${ended.detail}`;
        case "http":
            return `the server answered with HTTP status ${ended.status}: ${ended.detail}`;
        case "attempts":
            return `gave up after ${ended.attempts} attempts: ${ended.last}`;
        case "token":
            return `no new token: ${ended.detail}`;
        case "fenced":
            return ended.detail;
    }
}
//# sourceMappingURL=outcome.js.map