/**
 * A durable outbox in IndexedDB: for pages, workers and extensions.
 *
 * Ownership is a number in the database. Opening raises it in a read-write transaction; every later transaction of an owner
 * reads it first and aborts if it has changed. Such transactions of one database run one after the other, so an
 * append either comes before the take-over, and is seen by it, or fails. A `BroadcastChannel` only makes the older owner
 * notice sooner.
 */
import { ClientError } from "../outcome.js";
import { randomName } from "../random.js";
import { InUse, fenced, storeError } from "./in-use.js";
const OWNER = "owner";
/** A durable outbox in IndexedDB. */
export function indexedDbOutbox(options = {}) {
    const name = `agentbench-outbox-${options.name ?? "default"}`;
    return {
        open: async (producerId) => {
            const database = await openDatabase(name);
            try {
                const { owner, events } = await takeOver(database, producerId);
                return new InUse(new IndexedDbStore(database, name, owner, events, options.durability ?? "strict"));
            }
            catch (error) {
                database.close();
                throw storeError(error);
            }
        },
    };
}
class IndexedDbStore {
    producerId;
    events;
    #database;
    #owner;
    #durability;
    #channel;
    /** Keys of the events that are there, by id. */
    #keys = new Map();
    #tellFenced = null;
    constructor(database, name, owner, events, durability) {
        this.#database = database;
        this.#owner = owner;
        this.#durability = durability;
        this.producerId = owner.producerId;
        this.events = events.map(({ key, ...event }) => {
            this.#keys.set(event.id, key);
            return event;
        });
        this.#channel = new BroadcastChannel(name);
        this.#channel.onmessage = ({ data }) => {
            if (data > this.#owner.epoch)
                this.#tellFenced?.();
        };
        this.#channel.postMessage(owner.epoch);
    }
    async append(events) {
        const added = [];
        await this.#owned("readwrite", this.#durability, (store) => {
            for (const event of events) {
                const request = store.add(event);
                request.onsuccess = () => added.push([event.id, request.result]);
            }
        });
        for (const [id, key] of added)
            this.#keys.set(id, key);
    }
    async remove(ids) {
        const known = ids.filter((id) => this.#keys.has(id));
        if (known.length === 0)
            return;
        await this.#owned("readwrite", "relaxed", (store) => {
            for (const id of known)
                store.delete(this.#keys.get(id) ?? 0);
        });
        for (const id of known)
            this.#keys.delete(id);
    }
    async check() {
        await this.#owned("readonly", "relaxed", () => undefined);
    }
    onFenced(listener) {
        this.#tellFenced = listener;
    }
    close() {
        this.#tellFenced = null;
        this.#channel.close();
        this.#database.close();
        return Promise.resolve();
    }
    /** Runs a transaction in which this is still the owner. */
    async #owned(mode, durability, work) {
        const found = { isFenced: false };
        try {
            const transaction = this.#database.transaction(["meta", "events"], mode, { durability });
            const request = transaction.objectStore("meta").get(OWNER);
            request.onsuccess = () => {
                found.isFenced = request.result?.epoch !== this.#owner.epoch;
                if (found.isFenced)
                    transaction.abort();
                else
                    work(transaction.objectStore("events"));
            };
            await finished(transaction);
        }
        catch (error) {
            throw found.isFenced ? fenced() : storeError(error);
        }
    }
}
function openDatabase(name) {
    return new Promise((resolve, reject) => {
        const request = indexedDB.open(name, 1);
        request.onupgradeneeded = () => {
            request.result.createObjectStore("meta");
            request.result.createObjectStore("events", { keyPath: "key", autoIncrement: true });
        };
        request.onsuccess = () => {
            const database = request.result;
            // A later version of the SDK wants to change it: what is asked of this one fails from now on.
            database.onversionchange = () => {
                database.close();
            };
            resolve(database);
        };
        request.onerror = () => {
            reject(storeError(request.error));
        };
        request.onblocked = () => {
            reject(storeError("an older version of the SDK holds it open: close its pages"));
        };
    });
}
/** Becomes the owner, and reads what is there, in one transaction. */
async function takeOver(database, producerId) {
    const transaction = database.transaction(["meta", "events"], "readwrite", { durability: "strict" });
    const meta = transaction.objectStore("meta");
    const before = meta.get(OWNER);
    const all = transaction.objectStore("events").getAll();
    const found = {};
    before.onsuccess = () => {
        const was = before.result;
        if (was && producerId !== null && producerId !== was.producerId) {
            const detail = `this outbox belongs to the producer "${was.producerId}", not to "${producerId}": leave producerId out, or name another outbox`;
            found.problem = new ClientError("invalid", detail);
            transaction.abort();
            return;
        }
        found.owner = { epoch: (was?.epoch ?? 0) + 1, producerId: was?.producerId ?? producerId ?? randomName() };
        meta.put(found.owner, OWNER);
    };
    try {
        await finished(transaction);
    }
    catch (error) {
        throw found.problem ?? error;
    }
    if (!found.owner)
        throw new Error("a transaction that completed has an owner");
    return { owner: found.owner, events: all.result };
}
function finished(transaction) {
    return new Promise((resolve, reject) => {
        transaction.oncomplete = () => {
            resolve();
        };
        transaction.onabort = () => {
            reject(transaction.error ?? new Error("the transaction was aborted"));
        };
    });
}
//# sourceMappingURL=indexeddb.js.map