/** What a client can be told before it connects. Every limit has a name, a reason and a default here. */
import { jsonCodec } from "./codec.js";
import { checkToken } from "./driver.js";
import { isVisible } from "./event.js";
import { ClientError } from "./outcome.js";
import { random } from "./random.js";
/** What a worker's heartbeats may be apart at most, ms; Chrome ends a worker after 30 s without activity. */
const WORKER_HEARTBEAT = 20_000;
async function codecOf(format) {
    return format === "msgpack" ? (await import("./msgpack.js")).loadMsgpack() : jsonCodec;
}
function heartbeatOf(options) {
    const { heartbeatInterval = 15_000, keepWorkerAlive = false } = options;
    if (!keepWorkerAlive)
        return heartbeatInterval;
    if (heartbeatInterval === null)
        throw new ClientError("invalid", "keepWorkerAlive needs heartbeats: leave heartbeatInterval out");
    return Math.min(heartbeatInterval, WORKER_HEARTBEAT);
}
/** Refuses options that make no sense. */
export function checkOptions(options) {
    if (!/^wss?:\/\//.test(options.url))
        throw new ClientError("invalid", `"${options.url}" is no ws:// or wss:// address`);
    if (options.token !== undefined)
        checkToken(options.token);
    if (options.producerId !== undefined && !isVisible(options.producerId)) {
        throw new ClientError("invalid", "the producer id must have 1 to 128 visible characters");
    }
}
/** The part of the options that the machine needs. */
export async function settingsOf(options) {
    return {
        codec: await codecOf(options.format),
        token: options.token ?? null,
        hasTokenProvider: options.tokenProvider !== undefined,
        connectTimeout: options.connectTimeout ?? 10_000,
        commandTimeout: options.commandTimeout ?? 30_000,
        ackTimeout: options.ackTimeout === undefined ? (options.outbox ? null : 60_000) : options.ackTimeout,
        publishRetries: options.publishRetries ?? null,
        outboxMessages: Math.max(options.outboxMessages ?? 10_000, 1),
        outboxBytes: options.outboxBytes ?? 64 * 1024 * 1024,
        outboxPolicy: options.outboxPolicy ?? "wait",
        inFlight: Math.max(options.inFlight ?? 1024, 1),
        backoff: { base: 100, max: 10_000, attempts: null, ...options.backoff },
        heartbeatInterval: heartbeatOf(options),
        silenceTimeout: options.silenceTimeout ?? null,
        isFencedElsewhere: options.outbox !== undefined,
        random,
    };
}
//# sourceMappingURL=config.js.map