// Evidence that was taken and is not published yet, in IndexedDB. A picture goes beside the log and not through it, so it has a place
// of its own beside the durable outbox, and like what is there it outlives the worker.

/** Opened for each use: a few milliseconds for each picture, and no connection to look after. */
function use(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("waiting-evidence", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("evidence", { keyPath: "key", autoIncrement: true });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      // Strict: it is on the disk, as the event's step is, before the click counts as recorded.
      const transaction = database.transaction("evidence", mode, { durability: "strict" });
      const request = work(transaction.objectStore("evidence"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
      database.close(); // after what is under way
    };
  });
}

/** Puts one behind the others. */
export const keep = (evidence) => use("readwrite", (store) => store.add(evidence));
/** All of them, oldest first, each with its `key`. Pictures are read only when they are used. */
export const all = () => use("readonly", (store) => store.getAll());
export const count = () => use("readonly", (store) => store.count());
export const remove = (key) => use("readwrite", (store) => store.delete(key));
