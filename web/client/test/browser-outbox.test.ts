/** In a real browser: a durable outbox whose database the browser closes. */
import { mkdtempSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type * as Sdk from "../src/index.js";
import { sdkPage, startBrowser } from "./support/browser.js";
import { serveFiles } from "./support/files.js";

interface Held {
  sdk: typeof Sdk;
  client: Sdk.Client;
  /** The databases that were opened. */
  databases: IDBDatabase[];
}

let files: { url: string; server: Server };
let context: BrowserContext;
const profile = mkdtempSync(join(tmpdir(), "agentbench-browser-"));

beforeAll(async () => {
  files = await serveFiles();
  context = await startBrowser(profile);
});

afterAll(async () => {
  await context.close();
  files.server.close();
  rmSync(profile, { recursive: true, force: true });
});

/** A page with a client of an outbox of this name; there is no server, so what is published stays in it. */
async function pageWith(name: string): Promise<Page> {
  const page = await sdkPage(context, files.url);
  await page.evaluate(async (outbox) => {
    const held = window as unknown as Held;
    held.databases = [];
    const openDatabase = Reflect.get<IDBFactory, "open">(IDBFactory.prototype, "open");
    IDBFactory.prototype.open = function open(...args): IDBOpenDBRequest {
      const request = openDatabase.apply(this, args);
      request.addEventListener("success", () => held.databases.push(request.result));
      return request;
    };
    held.client = await held.sdk.open({ url: "ws://127.0.0.1:9", token: "t.o.k", outbox: held.sdk.indexedDbOutbox({ name: outbox }), backoff: { base: 60_000, max: 60_000 } });
  }, name);
  return page;
}

/** Publishes an event; tells whether it was accepted, or why not. */
function enqueue(page: Page): Promise<string> {
  return page.evaluate(async () => {
    try {
      await (window as unknown as Held).client.enqueue("s", { number: 1 });
      return "accepted";
    } catch (error) {
      const { kind, ended } = error as Sdk.ClientError;
      return ended ? `${kind} ${ended.kind}` : kind;
    }
  });
}

function ended(page: Page): Promise<string | undefined> {
  return page.evaluate(() => (window as unknown as Held).client.ended?.kind);
}

/** How many events are in an outbox that nobody uses. */
function kept(page: Page, name: string): Promise<number> {
  return page.evaluate(async (outbox) => {
    const store = await (window as unknown as Held).sdk.indexedDbOutbox({ name: outbox }).open(null);
    const { length } = store.events;
    await store.close();
    return length;
  }, name);
}

test("a database that was closed is opened again, and nothing is lost", async () => {
  const page = await pageWith("closed");
  expect(await enqueue(page)).toBe("accepted");
  await page.evaluate(() => (window as unknown as Held).databases.at(-1)?.close());
  expect(await enqueue(page)).toBe("accepted");
  await page.evaluate(() => (window as unknown as Held).databases.at(-1)?.close());
  // Several at once open it once.
  expect(await Promise.all([enqueue(page), enqueue(page)])).toEqual(["accepted", "accepted"]);
  expect(await page.evaluate(() => (window as unknown as Held).databases.length)).toBe(3);
  expect(await ended(page)).toBeUndefined();
  await page.evaluate(() => (window as unknown as Held).client.close());
  expect(await kept(page, "closed")).toBe(4);
});

test("a database that was closed and belongs to another client now fences this one", async () => {
  const page = await pageWith("other");
  await page.evaluate(async () => {
    const held = window as unknown as Held;
    held.databases.at(-1)?.close();
    BroadcastChannel.prototype.postMessage = () => undefined;
    await held.sdk.indexedDbOutbox({ name: "other" }).open(null);
  });
  expect(await enqueue(page)).toBe("fenced fenced");
  expect(await ended(page)).toBe("fenced");
});

test("cleared site data end the client with `store`, also if nothing is published, and a new client works", async () => {
  const page = await pageWith("cleared");
  expect(await enqueue(page)).toBe("accepted");
  const devtools = await context.newCDPSession(page);
  await devtools.send("Storage.clearDataForOrigin", { origin: files.url, storageTypes: "indexeddb" });
  await page.waitForFunction(() => (window as unknown as Held).client.state === "ended");
  expect(await ended(page)).toBe("store");
  expect(await enqueue(page)).toBe("ended store");
  expect(await kept(page, "cleared")).toBe(0);
});

test("a database that a later version took ends the client with `store`", async () => {
  const page = await pageWith("later");
  await page.evaluate(() => new Promise<void>((resolve, reject) => {
    const request = indexedDB.open("agentbench-outbox-later", 2);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(new Error("not opened"));
  }));
  expect(await enqueue(page)).toMatch(/^store store|ended store$/);
  expect(await ended(page)).toBe("store");
});
