import { hasEnded } from "../outcome.js";
import { digits16 } from "../random.js";
import { Commands, earlier } from "./commands.js";
import { Participation } from "./participation.js";
function noStats() {
    return {
        attempts: 0, reconnects: 0, published: 0, sent: 0, retried: 0, frames: 0, acked: 0, duplicates: 0, refused: 0,
        unknown: 0, heldBack: 0, commands: 0, delivered: 0, repeats: 0, late: 0, unexpected: 0, deferred: 0, violations: 0,
    };
}
/** One client's state. */
export class State {
    settings;
    /** 16 random digits in front of the ids that this machine makes. */
    run;
    lastNumber = 0;
    link = { is: "idle" };
    /** Attempts in a row without any progress. */
    attempt = 0;
    hasConnected = false;
    token;
    /** The token comes from the provider and no connection was made with it so far. */
    isTokenFresh = false;
    refreshAt = null;
    sessions = new Map();
    usage = { messages: 0, bytes: 0 };
    commands = new Commands();
    /** Sessions with events to send, each once. */
    ready = [];
    /** Sessions to be joined on this connection. */
    joins = [];
    actions = [];
    told = [];
    wakeAt = null;
    ended = null;
    latency = null;
    stats = noStats();
    constructor(settings) {
        this.settings = settings;
        this.token = settings.token;
        this.run = digits16(settings.random);
    }
    /** The connection, from the moment that there is a socket. */
    get connection() {
        return this.link.is === "open" ? this.link : null;
    }
    get isConnected() {
        return this.connection?.liveSince != null;
    }
    /** The session's state, begun if there is none. */
    participation(session) {
        let found = this.sessions.get(session);
        if (!found)
            this.sessions.set(session, (found = new Participation(session)));
        return found;
    }
    checkOpen() {
        if (this.ended)
            throw hasEnded(this.ended);
    }
    /** `timeout` is to be called at `at`, or before. */
    wakeBy(at) {
        this.wakeAt = earlier(this.wakeAt, at);
    }
    tell(event) {
        this.told.push({ type: "connection", event });
    }
    give(follow, item) {
        this.told.push({ type: "item", follow, item });
    }
    fail(key, error) {
        this.told.push({ type: "failed", key, error });
    }
    /** Tells a command's sender, if somebody waits, that it failed. */
    failPurpose(purpose, error) {
        if ("key" in purpose && purpose.key !== null)
            this.fail(purpose.key, error);
    }
    /** An id that no other message has: `mark` tells events (`-`), commands (`c`) and heartbeats (`h`) apart. */
    newId(mark) {
        this.lastNumber += 1;
        return `${this.run}${mark}${this.lastNumber}`;
    }
    /** The number in an id of this machine with this mark. */
    numberIn(mark, id) {
        const start = this.run + mark;
        if (typeof id !== "string" || !id.startsWith(start))
            return null;
        const digits = id.slice(start.length);
        return /^\d{1,15}$/.test(digits) ? Number(digits) : null;
    }
    sendCommand(now, purpose, data) {
        this.checkOpen();
        const isWaitedFor = purpose.for !== "join" && purpose.for !== "nobody";
        const deadline = isWaitedFor ? now.at + this.settings.commandTimeout : null;
        this.lastNumber += 1;
        this.commands.add(this.lastNumber, purpose, JSON.stringify(data), deadline);
        this.wakeBy(deadline);
    }
    /** Whatever has changed about a session: asks for its join, or lists it for sending, where that is due. */
    attend(session) {
        if (!this.isConnected)
            return;
        const found = this.sessions.get(session);
        if (!found)
            return;
        if (found.needsJoin()) {
            found.join = { is: "asked", follow: null, number: 0 };
            this.joins.push(session);
        }
        else if (!found.isListed && found.canPublish(this.settings.inFlight)) {
            found.isListed = true;
            this.ready.push(session);
        }
    }
    /** An event has left the outbox. */
    settle(left) {
        this.usage.messages -= 1;
        this.usage.bytes -= left.bytes;
        const { status } = left.outcome;
        if (status === "refused")
            this.stats.refused += 1;
        if (status === "unknown")
            this.stats.unknown += 1;
        if (left.ticket !== null)
            this.told.push({ type: "published", ticket: left.ticket, outcome: left.outcome });
    }
    /** Events without an ack that are done. */
    releaseUnacked(found) {
        for (let bytes = found.outbox.popUnacked(); bytes !== null; bytes = found.outbox.popUnacked()) {
            this.usage.messages -= 1;
            this.usage.bytes -= bytes;
        }
    }
    /** Tells all who wait for a session, or follow it, that this is over. */
    dissolve(found, error) {
        for (const waiter of found.waiters)
            this.fail(waiter.key, error);
        if (found.follow)
            this.told.push({ type: "followEnded", follow: found.follow.key, error });
    }
}
//# sourceMappingURL=state.js.map