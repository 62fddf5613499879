/**
 * A durable outbox in a folder, for Node.
 *
 * Each owner has a file of its own, `outbox.<n>.log`, append only. To take over is to create the file of the next number,
 * which only one can do, and then to read what the older ones hold, copy it and remove them. An owner looks for a newer
 * file *after* each append: if there is none, the append came before any take-over, so the newer owner reads it;
 * if there is one, the append is not confirmed. So no confirmed event is lost and no fenced owner confirms one.
 */
import { mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { ClientError } from "../outcome.js";
import { randomName } from "../random.js";
import { readLog, writeRecord } from "./log-file.js";
import { InUse, fenced, storeError } from "./in-use.js";
/** The file is rewritten when it is larger than this, and mostly settled events; bytes. */
const COMPACT_FROM = 1024 * 1024;
/** How often an idle owner looks for a newer one, ms. */
const LOOK_EVERY = 1000;
/** Attempts to be the next owner, each after somebody else was. */
const CLAIMS = 100;
const FILE = /^outbox\.(\d+)\.log$/;
/** A durable outbox in a folder. */
export function fileOutbox(options) {
    return {
        open: async (producerId) => {
            try {
                return new InUse(await takeOver(options, producerId));
            }
            catch (error) {
                throw storeError(error);
            }
        },
    };
}
function path(directory, generation) {
    return join(directory, `outbox.${generation}.log`);
}
async function generations(directory) {
    const found = (await readdir(directory)).flatMap((name) => FILE.exec(name)?.[1] ?? []);
    return found.map(Number).sort((one, other) => one - other);
}
/** Creates the next owner's file. */
async function claim(directory) {
    for (let attempt = 0; attempt < CLAIMS; attempt += 1) {
        const generation = ((await generations(directory)).at(-1) ?? 0) + 1;
        try {
            return { generation, file: await open(path(directory, generation), "wx") };
        }
        catch (error) {
            if (error.code !== "EEXIST")
                throw error;
        }
    }
    throw new ClientError("store", `too many clients want the outbox in ${directory} at once`);
}
async function takeOver(options, wanted) {
    const { directory } = options;
    await mkdir(directory, { recursive: true });
    const { generation, file } = await claim(directory);
    const content = { producerId: null, events: new Map() };
    try {
        const older = (await generations(directory)).filter((one) => one < generation);
        for (const one of older)
            readLog(path(directory, one), await readIfThere(path(directory, one)), content);
        if (wanted !== null && content.producerId !== null && wanted !== content.producerId) {
            const detail = `the outbox in ${directory} belongs to the producer "${content.producerId}", not to "${wanted}": leave producerId out, or name another folder`;
            throw new ClientError("invalid", detail);
        }
        const producerId = content.producerId ?? wanted ?? randomName();
        const store = new FileStore(options, generation, file, producerId, content.events);
        await store.begin();
        for (const one of older)
            await rm(path(directory, one), { force: true });
        return store;
    }
    catch (error) {
        // The claim is given back: the older files are as they were.
        await file.close();
        await rm(path(directory, generation), { force: true });
        throw error;
    }
}
/** Empty if another owner, which has copied it, removed it meanwhile. */
async function readIfThere(name) {
    try {
        return await readFile(name, "utf8");
    }
    catch (error) {
        if (error.code === "ENOENT")
            return "";
        throw error;
    }
}
class FileStore {
    producerId;
    events;
    #options;
    #generation;
    #file;
    #live;
    #size = 0;
    /** Why nothing can be written any more. */
    #broken = null;
    #last = Promise.resolve();
    #looking;
    constructor(options, generation, file, producerId, live) {
        this.#options = options;
        this.#generation = generation;
        this.#file = file;
        this.producerId = producerId;
        this.#live = new Map(live);
        this.events = [...live.values()];
    }
    /** Writes what was taken over. */
    async begin() {
        await this.#write(this.#snapshot());
        await this.#syncFolder();
    }
    #snapshot() {
        const events = [...this.#live.values()].map((event) => writeRecord({ event }));
        return writeRecord({ producerId: this.producerId }) + events.join("");
    }
    append(events) {
        return this.#inTurn(async () => {
            await this.#write(events.map((event) => writeRecord({ event })).join(""));
            await this.#look();
            for (const event of events)
                this.#live.set(event.id, event);
        });
    }
    remove(ids) {
        return this.#inTurn(async () => {
            await this.#look();
            await this.#write(writeRecord({ done: ids }), false);
            for (const id of ids)
                this.#live.delete(id);
            if (this.#size > COMPACT_FROM)
                await this.#compact();
        });
    }
    check() {
        return this.#inTurn(() => this.#look());
    }
    onFenced(listener) {
        this.#looking = setInterval(() => {
            this.check().catch((error) => {
                if (error instanceof ClientError && error.kind === "fenced")
                    listener();
            });
        }, LOOK_EVERY);
        this.#looking.unref();
    }
    close() {
        clearInterval(this.#looking);
        return this.#inTurn(async () => {
            this.#broken ??= new ClientError("store", "the durable outbox was closed");
            await this.#file.close();
        });
    }
    /** One after the other. */
    #inTurn(work) {
        const done = this.#last.then(async () => {
            try {
                await work();
            }
            catch (error) {
                throw storeError(error);
            }
        });
        this.#last = done.catch(() => undefined);
        return done;
    }
    /** Appends text, whole or not at all. */
    async #write(text, isSynced = this.#options.sync !== "none") {
        if (this.#broken)
            throw this.#broken;
        const bytes = Buffer.from(text);
        try {
            let written = 0;
            while (written < bytes.length) {
                written += (await this.#file.write(bytes, written, bytes.length - written, this.#size + written)).bytesWritten;
            }
        }
        catch (error) {
            // A full disk, for example: the next append goes to the same place.
            await this.#undo();
            throw error;
        }
        if (isSynced)
            await this.#sync();
        this.#size += bytes.length;
    }
    async #undo() {
        try {
            await this.#file.truncate(this.#size);
        }
        catch (error) {
            this.#broken = storeError(error);
        }
    }
    /** After a failed sync nobody knows what is on the disk: nothing more is confirmed. */
    async #sync() {
        try {
            await this.#file.datasync();
        }
        catch (error) {
            this.#broken = storeError(error);
            throw this.#broken;
        }
    }
    /** Throws `fenced` if there is a newer owner. */
    async #look() {
        if (this.#broken)
            throw this.#broken;
        const found = await generations(this.#options.directory);
        if (found.at(-1) === this.#generation)
            return;
        this.#broken = fenced();
        throw this.#broken;
    }
    /** Writes what is left into a new file in the place of this one, if that is worth it. */
    async #compact() {
        const text = this.#snapshot();
        if (Buffer.byteLength(text) * 4 > this.#size)
            return;
        const name = path(this.#options.directory, this.#generation);
        const file = await open(`${name}.new`, "w");
        await file.writeFile(text);
        await file.datasync();
        await this.#look();
        await rename(`${name}.new`, name);
        await this.#file.close();
        this.#file = file;
        this.#size = Buffer.byteLength(text);
        await this.#syncFolder();
    }
    /** So that the file's name survives, too. */
    async #syncFolder() {
        if (this.#options.sync === "none" || process.platform === "win32")
            return;
        const folder = await open(this.#options.directory, "r");
        try {
            await folder.sync();
        }
        finally {
            await folder.close();
        }
    }
}
//# sourceMappingURL=file.js.map