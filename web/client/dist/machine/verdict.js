/** Close code of a connection whose producer has a newer one. */
export const REPLACED = 4409;
/** What close codes mean where the server has said no more; any other is a reason to come back. */
const CODES = {
    1000: "never",
    1008: "never",
    4401: "refresh_token",
    4403: "never",
    [REPLACED]: "never",
};
/** What follows the end of a connection. */
export function verdict(lost) {
    if (lost.how === "http")
        return http(lost.status, lost.retryAfter, lost.body);
    if (lost.how === "closed")
        return closed(lost);
    return { then: "retry", after: 0 };
}
function http(status, retryAfter, body) {
    const ended = { kind: "http", status, detail: body };
    if (status === 401)
        return { then: "badToken", ended };
    const isPassing = [408, 425, 429].includes(status) || (status >= 500 && status <= 599);
    return isPassing ? { then: "retry", after: retryAfter ?? 0 } : { then: "end", ended };
}
function closed({ code, reason, asked }) {
    const ended = { kind: "dismissed", code, detail: reason };
    // What the server says in words goes before what its code usually means. Without either, as after a proxy's close,
    // coming back is right.
    const reconnect = asked?.reconnect ?? (code === null ? "now" : (CODES[code] ?? "now"));
    if (reconnect === "refresh_token")
        return { then: "newToken" };
    if (reconnect === "never")
        return code === 1008 ? { then: "badToken", ended } : { then: "end", ended };
    return { then: "retry", after: asked?.after ?? 0 };
}
/** The same for the user. */
export function describe(lost) {
    switch (lost.how) {
        case "tooSlow":
            return { code: null, detail: "the server did not answer in time" };
        case "silent":
            return { code: null, detail: "nothing was heard from the server for too long" };
        case "http":
            return { code: null, detail: `HTTP status ${lost.status}: ${lost.body}` };
        case "closed":
            return { code: lost.code, detail: lost.reason || "closed by the server" };
        default:
            return { code: null, detail: lost.detail };
    }
}
//# sourceMappingURL=verdict.js.map