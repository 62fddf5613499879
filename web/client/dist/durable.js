/** Between the client and its durable outbox: writes in groups, removes late, and notices when a newer owner has come. */
import { fenced } from "./fenced.js";
import { ClientError } from "./outcome.js";
/** Settled events wait this long for others before they are removed, ms. */
const REMOVE_AFTER = 50;
/** A store in use. */
export class Durable {
    store;
    settled = [];
    removal;
    /** What is under way. */
    last = Promise.resolve();
    closing = null;
    constructor(store) {
        this.store = store;
    }
    /** Appends events; resolves when they are durable. */
    append(events) {
        const appended = this.store.append(events);
        this.last = Promise.allSettled([this.last, appended]);
        return appended;
    }
    /** Asks whether this is still the owner. */
    check() {
        return this.store.check();
    }
    /** Calls back once with the error when a newer owner is noticed. */
    onFenced(listener) {
        this.store.onFenced(() => {
            listener(fenced());
        });
    }
    /** An event is settled: it need not be kept. */
    remove(id) {
        this.settled.push(id);
        this.removal ??= setTimeout(() => {
            this.last = Promise.allSettled([this.last, this.removeSettled()]);
        }, REMOVE_AFTER);
    }
    async removeSettled() {
        clearTimeout(this.removal);
        this.removal = undefined;
        const ids = this.settled;
        this.settled = [];
        try {
            if (ids.length > 0)
                await this.store.remove(ids);
        }
        catch (error) {
            // They stay, and are removed with the next ones, or sent again and stored once.
            const isOver = error instanceof ClientError && error.kind === "fenced";
            if (!isOver)
                this.settled.unshift(...ids);
        }
    }
    /** Removes what is settled, and ends the use of the store. */
    close() {
        this.closing ??= this.finish();
        return this.closing;
    }
    async finish() {
        await this.last;
        await this.removeSettled();
        await this.store.close();
    }
}
//# sourceMappingURL=durable.js.map