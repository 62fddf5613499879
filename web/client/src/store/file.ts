/**
 * A durable outbox in a folder, for Node.
 *
 * Each owner has a file of its own, `outbox.<n>.log`, append only. To take over is to create the file of the next number,
 * which only one can do, and then to read what the older ones hold, copy it and remove them. An owner looks for a newer
 * file *after* each append: if there is none, the append came before any take-over, so the newer owner reads it;
 * if there is one, the append is not confirmed. So no confirmed event is lost and no fenced owner confirms one.
 */
import { type FileHandle, mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { ClientError, reasonOf } from "../outcome.js";
import { randomName } from "../random.js";
import { type LogContent, readLog, writeRecord } from "./log-file.js";
import { InUse, type Place, fenced, lost, storeError } from "./in-use.js";
import type { OutboxStore, StoredEvent } from "./store.js";

/** How a durable outbox is kept. */
export interface FileOutboxOptions {
  /** The folder; made if it is not there. One folder for each producer. */
  directory: string;
  /**
   * `"each"`, the default, calls `fdatasync` after each group of appends: a confirmed event survives a power loss. `"none"`
   * leaves the flush to the operating system: it survives a crash of the process only, and is quicker.
   */
  sync?: "each" | "none";
}

/** The file is rewritten when it is larger than this, and mostly settled events; bytes. */
const COMPACT_FROM = 1024 * 1024;
/** How often an idle owner looks for a newer one, ms. */
const LOOK_EVERY = 1000;
/** Attempts to be the next owner, each after somebody else was. */
const CLAIMS = 100;
const FILE = /^outbox\.(\d+)\.log$/;

/** A durable outbox in a folder. */
export function fileOutbox(options: FileOutboxOptions): OutboxStore {
  return {
    open: async (producerId) => {
      try {
        return new InUse(await takeOver(options, producerId));
      } catch (error) {
        throw storeError(error);
      }
    },
  };
}

function path(directory: string, generation: number): string {
  return join(directory, `outbox.${generation}.log`);
}

async function generations(directory: string): Promise<number[]> {
  const found = (await readdir(directory)).flatMap((name) => FILE.exec(name)?.[1] ?? []);
  return found.map(Number).sort((one, other) => one - other);
}

/** Creates the next owner's file. */
async function claim(directory: string): Promise<{ generation: number; file: FileHandle }> {
  for (let attempt = 0; attempt < CLAIMS; attempt += 1) {
    const generation = ((await generations(directory)).at(-1) ?? 0) + 1;
    try {
      return { generation, file: await open(path(directory, generation), "wx") };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  throw new ClientError("store", `too many clients want the outbox in ${directory} at once`);
}

async function takeOver(options: FileOutboxOptions, wanted: string | null): Promise<FileStore> {
  const { directory } = options;
  await mkdir(directory, { recursive: true });
  const { generation, file } = await claim(directory);
  const content: LogContent = { producerId: null, events: new Map() };
  try {
    const older = (await generations(directory)).filter((one) => one < generation);
    for (const one of older) readLog(path(directory, one), await readIfThere(path(directory, one)), content);
    if (wanted !== null && content.producerId !== null && wanted !== content.producerId) {
      const detail = `the outbox in ${directory} belongs to the producer "${content.producerId}", not to "${wanted}": leave producerId out, or name another folder`;
      throw new ClientError("invalid", detail);
    }
    const producerId = content.producerId ?? wanted ?? randomName();
    const store = new FileStore(options, generation, file, producerId, content.events);
    await store.begin();
    for (const one of older) await rm(path(directory, one), { force: true });
    return store;
  } catch (error) {
    // The claim is given back: the older files are as they were.
    await file.close();
    await rm(path(directory, generation), { force: true });
    throw error;
  }
}

async function generationsIfThere(directory: string): Promise<number[]> {
  try {
    return await generations(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Empty if another owner, which has copied it, removed it meanwhile. */
async function readIfThere(name: string): Promise<string> {
  try {
    return await readFile(name, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

class FileStore implements Place {
  readonly producerId: string;
  readonly events: StoredEvent[];
  readonly #options: FileOutboxOptions;
  readonly #generation: number;
  #file: FileHandle;
  readonly #live: Map<string, StoredEvent>;
  #size = 0;
  /** Why nothing can be written any more. */
  #broken: ClientError | null = null;
  #last: Promise<unknown> = Promise.resolve();
  #looking: NodeJS.Timeout | undefined;
  #tellOver: ((error: ClientError) => void) | null = null;

  constructor(options: FileOutboxOptions, generation: number, file: FileHandle, producerId: string, live: Map<string, StoredEvent>) {
    this.#options = options;
    this.#generation = generation;
    this.#file = file;
    this.producerId = producerId;
    this.#live = new Map(live);
    this.events = [...live.values()];
  }

  /** Writes what was taken over. */
  async begin(): Promise<void> {
    await this.#write(this.#snapshot());
    await this.#syncFolder();
  }

  #snapshot(): string {
    const events = [...this.#live.values()].map((event) => writeRecord({ event }));
    return writeRecord({ producerId: this.producerId }) + events.join("");
  }

  append(events: readonly StoredEvent[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#write(events.map((event) => writeRecord({ event })).join(""));
      await this.#look();
      for (const event of events) this.#live.set(event.id, event);
    });
  }

  remove(ids: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#look();
      await this.#write(writeRecord({ done: ids }), false);
      for (const id of ids) this.#live.delete(id);
      if (this.#size > COMPACT_FROM) await this.#compact();
    });
  }

  check(): Promise<void> {
    return this.#inTurn(() => this.#look());
  }

  onFenced(listener: (error: ClientError) => void): void {
    this.#tellOver = listener;
    this.#looking = setInterval(() => {
      // What is found is told there.
      this.check().catch(() => undefined);
    }, LOOK_EVERY);
    this.#looking.unref();
  }

  close(): Promise<void> {
    clearInterval(this.#looking);
    this.#tellOver = null;
    return this.#inTurn(async () => {
      this.#broken ??= new ClientError("store", "the durable outbox was closed");
      await this.#file.close();
    });
  }

  /** One after the other. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(async () => {
      try {
        await work();
      } catch (error) {
        throw storeError(error);
      }
    });
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Appends text, whole or not at all. */
  async #write(text: string, isSynced = this.#options.sync !== "none"): Promise<void> {
    if (this.#broken) throw this.#broken;
    const bytes = Buffer.from(text);
    try {
      let written = 0;
      while (written < bytes.length) {
        written += (await this.#file.write(bytes, written, bytes.length - written, this.#size + written)).bytesWritten;
      }
    } catch (error) {
      // A full disk, for example: the next append goes to the same place.
      await this.#undo();
      throw error;
    }
    if (isSynced) await this.#sync();
    this.#size += bytes.length;
  }

  async #undo(): Promise<void> {
    try {
      await this.#file.truncate(this.#size);
    } catch (error) {
      this.#end(lost(reasonOf(error)));
    }
  }

  /** After a failed sync nobody knows what is on the disk: nothing more is confirmed. */
  async #sync(): Promise<void> {
    try {
      await this.#file.datasync();
    } catch (error) {
      throw this.#end(lost(reasonOf(error)));
    }
  }

  /** Nothing can be kept here any more: the client has to end, or each publish would fail for ever. */
  #end(why: ClientError): ClientError {
    this.#broken ??= why;
    this.#tellOver?.(this.#broken);
    return this.#broken;
  }

  /** Throws `fenced` if there is a newer owner, and `store` if the file is gone. */
  async #look(): Promise<void> {
    if (this.#broken) throw this.#broken;
    const newest = (await generationsIfThere(this.#options.directory)).at(-1) ?? 0;
    if (newest === this.#generation) return;
    throw this.#end(newest > this.#generation ? fenced() : lost("its file was removed"));
  }

  /** Writes what is left into a new file in the place of this one, if that is worth it. */
  async #compact(): Promise<void> {
    const text = this.#snapshot();
    if (Buffer.byteLength(text) * 4 > this.#size) return;
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
  async #syncFolder(): Promise<void> {
    if (this.#options.sync === "none" || process.platform === "win32") return;
    const folder = await open(this.#options.directory, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}
