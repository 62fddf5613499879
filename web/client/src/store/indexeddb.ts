/**
 * A durable outbox in IndexedDB: for pages, workers and extensions.
 *
 * Ownership is a number in the database. Opening raises it in a read-write transaction; every later transaction of an owner
 * reads it first and aborts if it has changed. Such transactions of one database run one after the other, so an
 * append either comes before the take-over, and is seen by it, or fails. A `BroadcastChannel` only makes the older owner
 * notice sooner.
 */
import { ClientError, reasonOf } from "../outcome.js";
import { randomName } from "../random.js";
import { InUse, type Place, fenced, lost, storeError } from "./in-use.js";
import type { OutboxStore, StoredEvent } from "./store.js";

/** How a durable outbox is kept. */
export interface IndexedDbOptions {
  /**
   * Name of the outbox, unique in its origin. Two clients that are to publish side by side (two tabs) need two names.
   * `"default"` if left out.
   */
  name?: string;
  /**
   * `"strict"`, the default, asks the browser to have an event on the disk before it counts as accepted: it survives a
   * power loss. `"relaxed"` leaves it to the operating system: quicker, and survives the crash of the browser.
   */
  durability?: "strict" | "relaxed";
}

interface Owner {
  epoch: number;
  producerId: string;
}

type Stored = StoredEvent & { key: number };

const OWNER = "owner";

/** A durable outbox in IndexedDB. */
export function indexedDbOutbox(options: IndexedDbOptions = {}): OutboxStore {
  const name = `agentbench-outbox-${options.name ?? "default"}`;
  return {
    open: async (producerId) => {
      const database = await openDatabase(name);
      try {
        const { owner, events } = await takeOver(database, producerId);
        return new InUse(new IndexedDbStore(database, name, owner, events, options.durability ?? "strict"));
      } catch (error) {
        database.close();
        throw storeError(error);
      }
    },
  };
}

class IndexedDbStore implements Place {
  readonly producerId: string;
  readonly events: StoredEvent[];
  readonly #name: string;
  #database!: IDBDatabase;
  readonly #owner: Owner;
  readonly #durability: "strict" | "relaxed";
  readonly #channel: BroadcastChannel;
  /** Keys of the events that are there, by id. */
  readonly #keys = new Map<string, number>();
  #tellOver: ((error: ClientError) => void) | null = null;
  #opening: Promise<void> | null = null;
  /** Why it is lost for good, if it is. */
  #lost: ClientError | null = null;

  constructor(database: IDBDatabase, name: string, owner: Owner, events: Stored[], durability: "strict" | "relaxed") {
    this.#name = name;
    this.#use(database);
    this.#owner = owner;
    this.#durability = durability;
    this.producerId = owner.producerId;
    this.events = events.map(({ key, ...event }) => {
      this.#keys.set(event.id, key);
      return event;
    });
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<number>) => {
      if (data > this.#owner.epoch) this.#tellOver?.(fenced());
    };
    this.#channel.postMessage(owner.epoch);
  }

  async append(events: readonly StoredEvent[]): Promise<void> {
    const added: [string, number][] = [];
    await this.#owned("readwrite", this.#durability, (store) => {
      for (const event of events) {
        const request = store.add(event);
        request.onsuccess = () => added.push([event.id, request.result as number]);
      }
    });
    for (const [id, key] of added) this.#keys.set(id, key);
  }

  async remove(ids: readonly string[]): Promise<void> {
    const known = ids.filter((id) => this.#keys.has(id));
    if (known.length === 0) return;
    await this.#owned("readwrite", "relaxed", (store) => {
      for (const id of known) store.delete(this.#keys.get(id) ?? 0);
    });
    for (const id of known) this.#keys.delete(id);
  }

  async check(): Promise<void> {
    await this.#owned("readonly", "relaxed", () => undefined);
  }

  onFenced(listener: (error: ClientError) => void): void {
    this.#tellOver = listener;
  }

  close(): Promise<void> {
    this.#tellOver = null;
    this.#channel.close();
    this.#database.close();
    return Promise.resolve();
  }

  /** Runs a transaction in which this is still the owner. */
  async #owned(mode: IDBTransactionMode, durability: "strict" | "relaxed", work: (store: IDBObjectStore) => void): Promise<void> {
    const found: { problem?: ClientError } = {};
    try {
      const transaction = await this.#begin(mode, durability);
      const request = transaction.objectStore("meta").get(OWNER) as IDBRequest<Owner | undefined>;
      request.onsuccess = () => {
        if (!request.result) found.problem = this.#giveUp("the browser has cleared its data");
        else if (request.result.epoch !== this.#owner.epoch) found.problem = fenced();
        if (found.problem) transaction.abort();
        else work(transaction.objectStore("events"));
      };
      await finished(transaction);
    } catch (error) {
      throw found.problem ?? storeError(error);
    }
  }

  /** Begins a transaction. A database that the browser has closed is opened again, once. */
  async #begin(mode: IDBTransactionMode, durability: "strict" | "relaxed"): Promise<IDBTransaction> {
    const begin = (): IDBTransaction => this.#database.transaction(["meta", "events"], mode, { durability });
    if (this.#lost) throw this.#lost;
    try {
      return begin();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "InvalidStateError")) throw error;
    }
    this.#opening ??= this.#openAgain();
    await this.#opening;
    try {
      return begin();
    } catch (error) {
      throw this.#giveUp(reasonOf(error));
    }
  }

  async #openAgain(): Promise<void> {
    try {
      this.#use(await openDatabase(this.#name));
    } catch (error) {
      throw this.#giveUp(reasonOf(error));
    } finally {
      this.#opening = null;
    }
  }

  #use(database: IDBDatabase): void {
    this.#database = database;
    // The browser has closed it, as when the user clears the site's data: what is left of it is seen at once.
    database.onclose = () => void this.check().catch(() => undefined);
  }

  /** Nothing can be kept here any more: the client has to end, or each publish would fail for ever. */
  #giveUp(detail: string): ClientError {
    this.#lost ??= lost(detail);
    this.#tellOver?.(this.#lost);
    return this.#lost;
  }
}

function openDatabase(name: string): Promise<IDBDatabase> {
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
async function takeOver(database: IDBDatabase, producerId: string | null): Promise<{ owner: Owner; events: Stored[] }> {
  const transaction = database.transaction(["meta", "events"], "readwrite", { durability: "strict" });
  const meta = transaction.objectStore("meta");
  const before = meta.get(OWNER) as IDBRequest<Owner | undefined>;
  const all = transaction.objectStore("events").getAll() as IDBRequest<Stored[]>;
  const found: { owner?: Owner; problem?: ClientError } = {};
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
  } catch (error) {
    throw found.problem ?? error;
  }
  if (!found.owner) throw new Error("a transaction that completed has an owner");
  return { owner: found.owner, events: all.result };
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = () => {
      reject(transaction.error ?? new Error("the transaction was aborted"));
    };
  });
}
