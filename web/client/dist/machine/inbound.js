/** The messages of a frame, which holds one or an array of them. Throws if they are not objects. */
export function readMessages(frame) {
    return (Array.isArray(frame) ? frame : [frame]).map((whole) => {
        if (!isObject(whole))
            throw new Error("not a message");
        return {
            type: text(whole.type) ?? "",
            sessionId: text(whole.sessionId),
            data: isObject(whole.data) ? whole.data : {},
            seq: count(whole.seq),
            isReplay: whole.replay === true,
            whole,
        };
    });
}
function isObject(value) {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}
/** A text, or nothing. */
export function text(value) {
    return typeof value === "string" ? value : null;
}
/** A number of ms, bytes and the like, or nothing. */
export function amount(value) {
    return typeof value === "number" && value >= 0 ? value : null;
}
/** A whole number that can be counted with, or nothing. */
function count(value) {
    return Number.isSafeInteger(value) && value >= 0 ? value : null;
}
/** The entry of a log that a message is. */
export function delivered(message, sessionId, seq) {
    const { whole, data } = message;
    const entry = {
        sessionId,
        seq,
        id: text(whole.id) ?? "",
        timestamp: amount(whole.timestamp) ?? 0,
        receivedAt: amount(whole.receivedAt) ?? 0,
        data,
    };
    if (isObject(whole.metadata))
        entry.metadata = whole.metadata;
    if (isObject(whole.sender))
        entry.sender = whole.sender;
    return entry;
}
export function readAck(data) {
    const pairs = [];
    const add = (id, seq) => {
        const place = count(seq);
        if (typeof id === "string" && place !== null)
            pairs.push([id, place]);
    };
    add(data.originalMessageId, data.seq);
    // Anything behind the pair is a later version's.
    if (Array.isArray(data.acks))
        for (const pair of data.acks)
            if (Array.isArray(pair))
                add(pair[0], pair[1]);
    return {
        sessionId: text(data.sessionId),
        epoch: text(data.epoch),
        level: text(data.level),
        duplicate: data.duplicate === true,
        pairs,
    };
}
export function readGreeting(data) {
    return {
        clientId: text(data.clientId) ?? "",
        node: text(data.node) ?? "",
        heartbeatInterval: amount(data.heartbeatInterval) ?? 30_000,
        maxPayload: amount(data.maxPayload) ?? Infinity,
        tokenExpiresAt: amount(data.tokenExpiresAt),
    };
}
export function readGap(data) {
    const [from, to] = [count(data.fromSeq), count(data.toSeq)];
    if (from === null || to === null)
        return null;
    return { type: "gap", from, to, cause: (text(data.cause) ?? "overflow"), history: data.history === true };
}
const RECONNECT = ["now", "after", "refresh_token", "never"];
export function readFarewell(data) {
    const reconnect = text(data.reconnect);
    if (reconnect === null || !RECONNECT.includes(reconnect))
        return null;
    return {
        code: count(data.code) ?? 1000,
        detail: text(data.detail) ?? "",
        reconnect: reconnect,
        after: amount(data.afterMs) ?? 0,
    };
}
export function readError(data) {
    const [code, error] = [text(data.code), text(data.error)];
    if (code === null || error === null || typeof data.retryable !== "boolean")
        return null;
    return data;
}
function isPosition(value) {
    return isObject(value) && typeof value.epoch === "string" && count(value.seq) !== null;
}
/** The answer to a join, if it is one. */
export function readJoined(data) {
    const isOne = data.type === "session_joined" && isPosition(data.from) && count(data.headSeq) !== null && typeof data.recovered === "boolean";
    return isOne ? data : null;
}
//# sourceMappingURL=inbound.js.map