/**
 * One session being followed: every entry of its log once and in order, or a gap that says why not. It goes on by itself
 * over reconnects, until it is closed, or ends with an error.
 *
 * ```ts
 * for await (const item of follow) if (item.type === "event") console.log(item.seq, item.data);
 * ```
 */
export class Follow {
    /** The session. */
    sessionId;
    #host;
    #limit;
    #buffer = [];
    #readers = [];
    #over = null;
    #isPaused = false;
    #answer = null;
    #place = null;
    /** @internal */
    constructor(sessionId, limit, host) {
        this.sessionId = sessionId;
        this.#limit = limit;
        this.#host = host;
    }
    /** What the server answered to the join. */
    get joined() {
        if (!this.#answer)
            throw new Error("a follow is given out after its join");
        return this.#answer;
    }
    /**
     * How far the reader has come: behind the last item that it took. Kept somewhere, it is where another follow goes on
     * without missing or repeating anything.
     */
    get position() {
        return { ...(this.#place ?? this.joined.from) };
    }
    /** The next item; waits for it. `done` after the end. Rejects with the error that has ended the follow. */
    next() {
        const item = this.#buffer.shift();
        if (item) {
            this.#took(item);
            return Promise.resolve({ done: false, value: item });
        }
        if (this.#over?.error)
            return Promise.reject(this.#over.error);
        if (this.#over)
            return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    }
    /** Calls back for each item, one after the other: a promise that it gives is waited for. Resolves at the end. */
    async forEach(listener) {
        for await (const item of this)
            await listener(item);
    }
    /** The items, one after the other. Leaving the loop closes the follow. */
    [Symbol.asyncIterator]() {
        return {
            next: () => this.next(),
            return: () => {
                this.close();
                return Promise.resolve({ done: true, value: undefined });
            },
        };
    }
    /** Ends the follow. What was not read is dropped. */
    close() {
        if (this.#over)
            return;
        this.#buffer = [];
        this.end(null);
        this.#host.leave();
    }
    /** @internal */
    setJoined(joined) {
        this.#answer = joined;
    }
    /** @internal */
    push(item) {
        if (this.#over)
            return;
        const reader = this.#readers.shift();
        if (reader) {
            this.#took(item);
            reader.resolve({ done: false, value: item });
            return;
        }
        this.#buffer.push(item);
        if (!this.#isPaused && this.#buffer.length >= this.#limit)
            this.#setPaused(true);
    }
    /** @internal What is in the buffer can still be read. */
    end(error) {
        if (this.#over)
            return;
        this.#over = { error };
        for (const reader of this.#readers.splice(0)) {
            if (error)
                reader.reject(error);
            else
                reader.resolve({ done: true, value: undefined });
        }
    }
    #took(item) {
        const epoch = this.#place?.epoch ?? this.#answer?.from.epoch ?? "";
        if (item.type === "event" || item.type === "lifecycle")
            this.#place = { epoch, seq: item.seq, lastId: item.id };
        else if (item.type === "notRecovered")
            this.#place = { ...item.from };
        else if (item.type === "gap" && item.cause !== "epoch" && item.cause !== "diverged" && item.to > this.position.seq) {
            this.#place = { epoch, seq: item.to };
        }
        if (this.#isPaused && this.#buffer.length <= this.#limit / 2)
            this.#setPaused(false);
    }
    #setPaused(isPaused) {
        this.#isPaused = isPaused;
        if (!this.#over)
            this.#host.pause(isPaused);
    }
}
//# sourceMappingURL=follow.js.map