/** The durable outbox in a folder, alone: what is on the disk, and what a crash, a rival or damage makes of it. */
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ClientError } from "../src/outcome.js";
import { crc32c } from "../src/store/crc32c.js";
import { fileOutbox } from "../src/store/file.js";
import type { OpenedStore, StoredEvent } from "../src/store/store.js";

let directory: string;
let opened: OpenedStore[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "agentbench-file-"));
  opened = [];
});

afterEach(async () => {
  await Promise.all(opened.map((store) => store.close()));
  rmSync(directory, { recursive: true, force: true });
});

async function open(producerId: string | null = null): Promise<OpenedStore> {
  const store = await fileOutbox({ directory }).open(producerId);
  opened.push(store);
  return store;
}

function event(id: string, data = "{}"): StoredEvent {
  return { id, sessionId: "S", timestamp: 1, data, metadata: "{}" };
}

function logs(): string[] {
  return readdirSync(directory).filter((name) => name.endsWith(".log")).sort();
}

function ids(store: OpenedStore): string[] {
  return store.events.map(({ id }) => id);
}

describe("a durable outbox in a folder", () => {
  test("gives back what was not removed, in order, and its producer's name", async () => {
    const first = await open("p1");
    await first.append([event("a"), event("b", '{"text":"ä\\n"}')]);
    await first.append([event("c")]);
    first.remove("a");
    await first.close();
    const second = await open();
    expect(second.producerId).toBe("p1");
    expect(second.events).toEqual([event("b", '{"text":"ä\\n"}'), event("c")]);
    expect(logs()).toEqual(["outbox.2.log"]);
  });

  test("a last line that is not whole was never confirmed; other damage is said", async () => {
    const first = await open();
    await first.append([event("a"), event("b")]);
    await first.close();
    const path = join(directory, "outbox.1.log");
    const whole = readFileSync(path, "utf8");
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (cut) => {
        for (const name of readdirSync(directory)) rmSync(join(directory, name));
        writeFileSync(path, whole.slice(0, cut));
        const store = await fileOutbox({ directory }).open(null);
        // A prefix of what was appended, whatever the crash has left.
        expect(["a", "b"].slice(0, store.events.length)).toEqual(ids(store));
        await store.close();
      }),
      { numRuns: 50 },
    );
    for (const name of readdirSync(directory)) rmSync(join(directory, name));
    writeFileSync(path, whole.replace('"id":"a"', '"id":"x"'));
    await expect(open()).rejects.toMatchObject({ kind: "store", message: expect.stringMatching(/outbox\.1\.log is damaged in line 2: move it away/) as string });
    expect(logs(), "the claim is given back").toEqual(["outbox.1.log"]);
  });

  test("what is behind the last append of an earlier life does not hide later ones", async () => {
    const first = await open();
    await first.append([event("a")]);
    await first.close();
    appendFileSync(join(directory, "outbox.1.log"), "deadbeef {\"ev");
    const second = await open();
    await second.append([event("b")]);
    await second.close();
    expect(ids(await open())).toEqual(["a", "b"]);
  });

  test("a newer owner fences the older one, which confirms nothing any more", async () => {
    const older = await open();
    await older.append([event("a")]);
    const newer = await open();
    expect(ids(newer)).toEqual(["a"]);
    await expect(older.append([event("b")])).rejects.toMatchObject({ kind: "fenced" });
    await expect(older.check()).rejects.toMatchObject({ kind: "fenced" });
    await newer.append([event("c")]);
    await newer.close();
    expect(ids(await open())).toEqual(["a", "c"]);
  });

  test("of many that open at once one is left, and no confirmed event is lost", async () => {
    const first = await open();
    const confirmed: string[] = [];
    const writing = (async () => {
      for (let number = 0; number < 200; number += 1) {
        await first.append([event(`e${number}`)]);
        confirmed.push(`e${number}`);
      }
    })().catch(() => undefined);
    const rivals = await Promise.all([1, 2, 3, 4].map(() => open()));
    await writing;
    const alive = await Promise.all(rivals.map((store) => store.check().then(() => true, () => false)));
    expect(alive.filter(Boolean)).toHaveLength(1);
    await Promise.all(rivals.map((store) => store.close()));
    const kept = ids(await open());
    expect(kept.slice(0, confirmed.length)).toEqual(confirmed);
  });

  test.each<[string, () => void]>([
    ["its file is removed", () => rmSync(join(directory, "outbox.1.log"))],
    ["its folder is removed", () => rmSync(directory, { recursive: true })],
    ["its file is an older one", () => renameSync(join(directory, "outbox.1.log"), join(directory, "outbox.0.log"))],
  ])("is lost for good when %s, and tells it", async (_, spoil) => {
    const store = await open();
    const told: ClientError[] = [];
    store.onFenced((error) => told.push(error));
    await store.append([event("a")]);
    spoil();
    const gone = { kind: "store", retryable: false, ended: { kind: "store" } };
    await expect(store.append([event("b")])).rejects.toMatchObject(gone);
    await expect(store.append([event("c")])).rejects.toMatchObject(gone);
    await expect(store.check()).rejects.toMatchObject(gone);
    expect(told[0]).toMatchObject(gone);
  });

  test("belongs to one producer", async () => {
    await (await open("one")).close();
    await expect(open("two")).rejects.toMatchObject({ kind: "invalid" });
    expect((await open("one")).producerId).toBe("one");
  });

  test("the file does not grow for ever", async () => {
    const store = await open();
    const data = JSON.stringify({ fill: "x".repeat(10_000) });
    for (let number = 0; number < 300; number += 1) {
      await store.append([event(`e${number}`, data)]);
      store.remove(`e${number}`);
    }
    await store.append([event("last")]);
    await store.close();
    expect(readFileSync(join(directory, "outbox.1.log")).length).toBeLessThan(1_500_000);
    expect(ids(await open()).at(-1)).toBe("last");
  });

  test("checksums are CRC-32C", () => {
    expect(crc32c("123456789")).toBe("e3069283");
  });
});
