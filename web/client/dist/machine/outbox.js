/** Refusals that leave open whether the log has the event. */
const DOUBTFUL = ["log_unavailable", "internal"];
/** Refusals given only after the server has looked for a repeat: they say that there was none. */
const CERTAIN = ["session_closed", "id_conflict", "payload_too_large"];
/** One session's events on their way to the log. */
export class Outbox {
    #entries = [];
    #inFlight = 0;
    /** Nothing is sent before. */
    holdUntil = null;
    get size() {
        return this.#entries.length;
    }
    push(entry) {
        this.#entries.push(entry);
    }
    /** Whether an event could be sent now, with at most `window` in flight. */
    isReady(window) {
        return this.holdUntil === null && this.#inFlight < this.#entries.length && this.#inFlight < window;
    }
    /** The next event to be sent. */
    next() {
        return this.#entries[this.#inFlight];
    }
    /** Notes that `next` was handed to the connection. */
    sent() {
        const entry = this.next();
        if (!entry)
            return;
        entry.sends += 1;
        this.#inFlight += 1;
    }
    /** Takes the next event out: it cannot be sent. */
    refuseNext(refusal) {
        const entry = this.#remove(this.#inFlight);
        return entry ? settleRefused(entry, refusal) : null;
    }
    /** The front event without an ack that is sent and has nothing before it: it is done. Gives its bytes. */
    popUnacked() {
        const [front] = this.#entries;
        if (this.#inFlight === 0 || front?.ticket !== null)
            return null;
        this.#remove(0);
        return front.event.bytes;
    }
    /** Takes an acked event out. Acks come in order, so it is nearly always the first. */
    acked(id) {
        const index = this.#find(id);
        return index < 0 ? null : this.#remove(index);
    }
    /** Takes note of a refusal. */
    refused(id, refusal, mostRetries) {
        const index = this.#find(id);
        const entry = this.#entries[index];
        if (!entry)
            return { then: "notFound" };
        if (!refusal.retryable && refusal.code !== "not_a_participant") {
            this.#remove(index);
            return { then: "settled", left: settleRefused(entry, refusal) };
        }
        if (index >= this.#inFlight)
            return { then: "waiting" };
        entry.inDoubt ||= DOUBTFUL.includes(refusal.code);
        entry.refused += 1;
        if (mostRetries !== null && entry.refused > mostRetries) {
            this.#remove(index);
            return { then: "settled", left: settleExhausted(entry, refusal) };
        }
        entry.lastRefusal = refusal;
        // The answers to what was sent behind it will not be waited for.
        for (const later of this.#entries.slice(index + 1, this.#inFlight))
            later.inDoubt = true;
        this.#inFlight = index;
        return { then: "retry", before: entry.refused - 1 };
    }
    /** The connection is lost: everything is to be sent again. */
    connectionLost() {
        for (const entry of this.#entries.slice(0, this.#inFlight))
            entry.inDoubt = true;
        this.holdUntil = null;
        this.#inFlight = 0;
    }
    /** When the first event is given up. All events wait equally long, so it is the oldest. */
    nextDeadline() {
        return this.#entries[0]?.deadline ?? null;
    }
    /** Takes out the first event if its time is over. */
    popExpired(at) {
        const deadline = this.nextDeadline();
        if (deadline === null || deadline > at)
            return null;
        const wasInFlight = this.#inFlight > 0;
        const entry = this.#remove(0);
        return entry && giveUp(entry, wasInFlight, { kind: "ackTimeout" });
    }
    /** Takes out the oldest event that was never sent. */
    dropOldestUnsent() {
        const entry = this.#remove(this.#entries.findIndex((found) => found.sends === 0));
        return entry && giveUp(entry, false, { kind: "dropped" });
    }
    /** Takes out everything, given up. */
    giveUpAll(why) {
        const all = this.#entries.map((entry, index) => giveUp(entry, index < this.#inFlight, why));
        this.#clear();
        return all;
    }
    /** Takes out everything: the session takes no events from us. */
    refuseAll(refusal) {
        const all = this.#entries.map((entry) => settleRefused(entry, refusal));
        this.#clear();
        return all;
    }
    #clear() {
        this.#entries = [];
        this.#inFlight = 0;
    }
    #find(id) {
        return this.#entries.findIndex((entry) => entry.id === id);
    }
    #remove(index) {
        const entry = this.#entries[index];
        if (!entry)
            return null;
        if (index < this.#inFlight)
            this.#inFlight -= 1;
        if (index === 0)
            this.#entries.shift();
        else
            this.#entries.splice(index, 1);
        return entry;
    }
}
/** A refusal settles an event, unless an earlier send of it may have succeeded. */
function settleRefused(entry, refusal) {
    const isOpen = entry.inDoubt && !CERTAIN.includes(refusal.code);
    return left(entry, isOpen ? { status: "unknown", why: { kind: "refusedAgain", refusal }, sent: true } : { status: "refused", refusal });
}
function settleExhausted(entry, refusal) {
    return left(entry, entry.inDoubt ? { status: "unknown", why: { kind: "retries", refusal }, sent: true } : { status: "refused", refusal });
}
function giveUp(entry, wasInFlight, why) {
    // Every send of it was answered, with a refusal.
    const isRefused = entry.lastRefusal && !wasInFlight && !entry.inDoubt;
    return left(entry, isRefused && entry.lastRefusal ? { status: "refused", refusal: entry.lastRefusal } : { status: "unknown", why, sent: entry.sends > 0 });
}
function left(entry, outcome) {
    return { ticket: entry.ticket, outcome, bytes: entry.event.bytes };
}
//# sourceMappingURL=outbox.js.map