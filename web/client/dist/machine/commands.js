/** The earlier of two times, where there may be none. */
export function earlier(one, other) {
    if (one === null)
        return other;
    return other === null ? one : Math.min(one, other);
}
/** All of them, by number. */
export class Commands {
    #pending = new Map();
    #toSend = [];
    get size() {
        return this.#pending.size;
    }
    add(number, purpose, data, deadline) {
        this.#pending.set(number, { purpose, data, deadline, holdUntil: null, sends: 0, refusals: 0, lastRefusal: null });
        this.#toSend.push(number);
    }
    /** The next one to be sent. */
    next() {
        for (let number = this.#toSend[0]; number !== undefined; number = this.#toSend[0]) {
            const found = this.#pending.get(number);
            if (found)
                return [number, found];
            this.#toSend.shift();
        }
        return null;
    }
    /** Notes that `next` was handed to the connection. */
    sent() {
        const number = this.#toSend.shift();
        const found = number === undefined ? undefined : this.#pending.get(number);
        if (found)
            found.sends += 1;
    }
    get(number) {
        return this.#pending.get(number);
    }
    take(number) {
        const found = this.#pending.get(number);
        this.#pending.delete(number);
        return found;
    }
    /** The connection is lost: joins end with it, everything else is to be sent again. */
    connectionLost() {
        for (const [number, { purpose }] of this.#pending) {
            if (purpose.for === "join" || purpose.for === "nobody")
                this.#pending.delete(number);
        }
        for (const pending of this.#pending.values())
            pending.holdUntil = null;
        this.#toSend = [...this.#pending.keys()];
    }
    /** Those whose time is over, taken out. */
    takeExpired(at) {
        const expired = [...this.#pending].filter(([, { deadline }]) => deadline !== null && deadline <= at);
        for (const [number] of expired)
            this.#pending.delete(number);
        return expired.map(([, pending]) => pending);
    }
    /** Lets those go whose wait after a refusal is over. Gives the earliest time at which to look again. */
    release(at) {
        let next = null;
        for (const [number, pending] of this.#pending) {
            if (pending.holdUntil !== null && pending.holdUntil <= at) {
                pending.holdUntil = null;
                this.#toSend.push(number);
            }
            next = earlier(next, earlier(pending.holdUntil, pending.deadline));
        }
        return next;
    }
    takeAll() {
        const all = [...this.#pending.values()];
        this.#pending.clear();
        this.#toSend = [];
        return all;
    }
}
//# sourceMappingURL=commands.js.map