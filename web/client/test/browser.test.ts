/** In a real browser: the durable outbox over reloads and crashes, fencing, the page and the extension. */
import { mkdtempSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BrowserContext, Page, Worker } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evidenceHash } from "../src/evidence.js";
import type * as Sdk from "../src/index.js";
import { type Client, connect } from "../src/node.js";
import { BlockingProxy } from "./support/blocking-proxy.js";
import { killBrowser, sdkPage, startBrowser } from "./support/browser.js";
import { serveFiles } from "./support/files.js";
import { range } from "./support/pair.js";
import { RealServer } from "./support/real-server.js";
import { until } from "./support/until.js";

declare global {
  interface Window {
    sdk: typeof Sdk;
    client: Sdk.Client;
    told: Sdk.ClientEvent[];
    got: unknown[];
  }
}

let server: RealServer;
let token: string;
let files: { url: string; server: Server };
let keeper: Client;
const contexts: BrowserContext[] = [];
const folders: string[] = [];

beforeAll(async () => {
  server = await RealServer.start();
  token = server.token("--user", "ann");
  files = await serveFiles();
  keeper = await connect({ url: server.url, token, backoff: { base: 20, max: 200 } });
});

afterAll(async () => {
  await Promise.all(contexts.map((context) => context.close().catch(() => undefined)));
  await keeper.close();
  files.server.close();
  await server.remove();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "agentbench-browser-"));
  folders.push(made);
  return made;
}

async function browser(profile = folder(), extension?: string): Promise<BrowserContext> {
  const context = await startBrowser(profile, extension);
  contexts.push(context);
  return context;
}

async function newSession(): Promise<string> {
  return (await keeper.create({ projectId: "shop", testId: "browser", agentName: "agent" })).id;
}

async function datas(session: string): Promise<Record<string, unknown>[]> {
  const { events } = await keeper.getHistory(session);
  return events.filter(({ type }) => type === "test_event").map(({ data }) => data);
}

async function numbers(session: string): Promise<unknown[]> {
  return (await datas(session)).map(({ number }) => number);
}

/** Opens a client with a durable outbox in a page; gives its producer. */
function openIn(page: Page, name: string): Promise<string> {
  return page.evaluate(async ([url, withToken, outbox]) => {
    window.told = [];
    window.client = await window.sdk.open({
      url: url!, token: withToken!, outbox: window.sdk.indexedDbOutbox({ name: outbox! }), backoff: { base: 20, max: 200 },
      onEvent: (event) => window.told.push(event),
    });
    return window.client.producerId;
  }, [server.url, token, name]);
}

/** Puts numbers into a page's outbox, and waits until they are there. */
function enqueueIn(page: Page, session: string, from: number, to: number): Promise<void> {
  return page.evaluate(async ([name, all]) => {
    await Promise.all(all.map((number) => window.client.enqueue(name, { number })));
  }, [session, range(from, to)] as const);
}

describe("a durable outbox in IndexedDB", () => {
  test("survives a reload while there is no server: each event is sent once and in order, by the same producer", async () => {
    const page = await sdkPage(await browser(), files.url);
    const session = await newSession();
    const producer = await openIn(page, "reload");
    await server.down("SIGTERM");
    await enqueueIn(page, session, 1, 40);
    await page.reload();
    await page.waitForFunction(() => "sdk" in window);
    expect(await openIn(page, "reload")).toBe(producer);
    await enqueueIn(page, session, 41, 60);
    await server.up();
    await page.evaluate(() => window.client.flush());
    expect(await numbers(session)).toEqual(range(1, 60));
    const told = await page.evaluate(() => window.told.filter(({ type }) => type === "recovered"));
    expect(told).toHaveLength(40);
    expect(told[0]).toMatchObject({ sessionId: session, outcome: { status: "stored", duplicate: false } });
  });

  test("survives reloads in the middle of sending", async () => {
    const page = await sdkPage(await browser(), files.url);
    const session = await newSession();
    for (const round of range(0, 4)) {
      await openIn(page, "middle");
      await enqueueIn(page, session, round * 50 + 1, round * 50 + 50);
      await page.reload();
      await page.waitForFunction(() => "sdk" in window);
    }
    await openIn(page, "middle");
    await page.evaluate(() => window.client.flush());
    expect(await numbers(session)).toEqual(range(1, 250));
  });

  test("survives the crash of the browser", async () => {
    const profile = folder();
    const page = await sdkPage(await browser(profile), files.url);
    const session = await newSession();
    const producer = await openIn(page, "crash");
    await server.down("SIGTERM");
    await enqueueIn(page, session, 1, 25);
    killBrowser(profile);
    await until("the end of the browser", () => page.isClosed());
    await server.up();
    // IndexedDB belongs to the page's origin: the same server, another browser.
    const again = await sdkPage(await browser(profile), files.url);
    expect(await openIn(again, "crash")).toBe(producer);
    await again.evaluate(() => window.client.flush());
    expect(await numbers(session)).toEqual(range(1, 25));
  });

  test("the newer client wins, the older one is fenced and knows it", async () => {
    const context = await browser();
    const [older, newer] = [await sdkPage(context, files.url), await sdkPage(context, files.url)];
    const session = await newSession();
    await openIn(older, "fence");
    await enqueueIn(older, session, 1, 5);
    await openIn(newer, "fence");
    await enqueueIn(newer, session, 6, 10);
    await newer.evaluate(() => window.client.flush());
    await older.waitForFunction(() => window.client.ended !== null);
    expect(await older.evaluate(() => window.client.ended)).toMatchObject({ kind: "fenced" });
    const kind = await older.evaluate(async (name) => {
      try {
        await window.client.enqueue(name, { number: 99 });
        return "accepted";
      } catch (error) {
        return (error as Sdk.ClientError).kind;
      }
    }, session);
    expect(kind).toBe("fenced");
    expect(await newer.evaluate(() => window.client.state)).toBe("connected");
    expect(await numbers(session)).toEqual(range(1, 10));
  });

  test("belongs to one producer", async () => {
    const page = await sdkPage(await browser(), files.url);
    const kind = await page.evaluate(async () => {
      await (await window.sdk.indexedDbOutbox({ name: "named" }).open("one")).close();
      try {
        await window.sdk.indexedDbOutbox({ name: "named" }).open("two");
        return "opened";
      } catch (error) {
        return (error as Sdk.ClientError).kind;
      }
    });
    expect(kind).toBe("invalid");
  });
});

describe("the example page", () => {
  test("publishes, follows, and goes on after a reload", async () => {
    const page = await (await browser()).newPage();
    await page.goto(`${files.url}/examples/page/index.html#url=${server.url}&token=${token}`);
    await page.click("#step:not([disabled])");
    await page.getByText("automation_step step 1").waitFor();
    await server.down("SIGTERM");
    await page.click("#step");
    await page.waitForFunction(() => document.querySelector("#waiting")?.textContent === "1");
    await page.reload();
    await server.up();
    await page.getByText("sent from before the reload").waitFor();
    await page.getByText("automation_step step 2").waitFor();
    expect(await page.locator("#waiting").textContent()).toBe("0");
    const session = await page.inputValue("input[name=session]");
    expect((await datas(session)).map(({ step }) => step)).toEqual(["step 1", "step 2"]);
  });
});

describe("the example extension", () => {
  const here = fileURLToPath(new URL("../examples/extension/", import.meta.url));

  /** A browser with the extension, and a page of the extension's own. */
  async function withExtension(profile: string): Promise<{ context: BrowserContext; own: Page }> {
    const context = await browser(profile, `${here}built`);
    const isIt = (one: Worker): boolean => one.url().includes("background.js");
    const worker = context.serviceWorkers().find(isIt) ?? await context.waitForEvent("serviceworker", isIt);
    const own = await context.newPage();
    await own.goto(`chrome-extension://${new URL(worker.url()).host}/options.html`);
    return { context, own };
  }

  /** What one of the extension's stores holds; its files as bytes. */
  function held(own: Page, database: string, store: string): Promise<Record<string, unknown>[]> {
    return own.evaluate(async ([name, of]) => {
      const opened = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open(name!);
        request.onsuccess = () => resolve(request.result);
      });
      const all = await new Promise<Record<string, unknown>[]>((resolve) => {
        const request = opened.transaction(of!).objectStore(of!).getAll();
        request.onsuccess = () => resolve(request.result as Record<string, unknown>[]);
      });
      opened.close();
      return Promise.all(all.map(async (entry) => {
        return entry.picture instanceof Blob ? { ...entry, picture: Array.from(new Uint8Array(await entry.picture.arrayBuffer())) } : entry;
      }));
    }, [database, store]);
  }

  const waiting = (own: Page) => held(own, "waiting-evidence", "evidence");
  const outbox = (own: Page) => held(own, "agentbench-outbox-recorder", "events");

  /** Puts evidence back that was published, as a worker leaves it that ends before it has removed it. */
  function putBack(own: Page, entry: Record<string, unknown>): Promise<void> {
    return own.evaluate(async ({ picture, ...rest }) => {
      const opened = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open("waiting-evidence");
        request.onsuccess = () => resolve(request.result);
      });
      const transaction = opened.transaction("evidence", "readwrite");
      transaction.objectStore("evidence").add({ ...rest, picture: new Blob([new Uint8Array(picture as number[])], { type: "image/jpeg" }) });
      await new Promise((resolve) => {
        transaction.oncomplete = resolve;
      });
      opened.close();
    }, entry);
  }

  /** Ends the worker alone, as Chrome does when it has been idle. */
  async function endWorker(context: BrowserContext, own: Page): Promise<void> {
    const devtools = await context.newCDPSession(own);
    const stopped = new Promise<void>((resolve) => {
      devtools.on("ServiceWorker.workerVersionUpdated", ({ versions }) => {
        if (versions.some(({ runningStatus }) => runningStatus === "stopped")) resolve();
      });
    });
    await devtools.send("ServiceWorker.enable");
    await devtools.send("ServiceWorker.stopAllWorkers");
    await stopped;
    await devtools.detach();
  }

  /** Clicks, each with the picture that its evidence names, when there are so many of both. */
  async function recorded(session: string, clicks: number): Promise<{ xs: unknown[]; pictures: Buffer[] }> {
    const events = await until(`${clicks} clicks with evidence`, async () => {
      const found = (await keeper.getHistory(session)).events.filter(({ type }) => type === "test_event");
      return found.length >= 2 * clicks ? found : null;
    });
    const steps = events.filter(({ data }) => data.eventType === "automation_step");
    const evidence = events.filter(({ data }) => data.eventType === "evidence");
    // Every click has its screenshot, after it and once, whatever lay between the two.
    expect(events).toHaveLength(2 * clicks);
    expect(evidence.map(({ data }) => data.of)).toEqual(steps.map(({ id }) => id));
    const pictures = [];
    for (const { id, seq, data } of evidence) {
      const step = steps.find((one) => one.id === data.of)!;
      expect(seq!).toBeGreaterThan(step.seq!);
      expect(id).toBe(`${step.id}-screenshot`);
      const { hash, size } = data;
      expect(data).toEqual({ eventType: "evidence", kind: "screenshot", of: step.id, hash, contentType: "image/jpeg", size });
      const address = `${server.url.replace("ws", "http")}/api/v1/evidence/${hash as string}?sessionId=${session}`;
      const response = await fetch(address, { headers: { Authorization: `Bearer ${token}` } });
      expect([response.status, response.headers.get("content-type")]).toEqual([200, "image/jpeg"]);
      const picture = Buffer.from(await response.arrayBuffer());
      expect([evidenceHash(picture), picture.length]).toEqual([hash, size]);
      expect(picture.subarray(0, 3).toString("hex")).toBe("ffd8ff");
      pictures.push(picture);
    }
    return { xs: steps.map(({ data }) => data.x), pictures };
  }

  test("publishes clicks and screenshots, and its worker's end costs nothing", async () => {
    expect(spawnSync(process.execPath, [`${here}build.mjs`], { encoding: "utf8" }).stderr.replace(/.*nodedir.*\n?/, "")).toBe("");
    const profile = folder();
    const { context, own } = await withExtension(profile);
    const session = await newSession();
    for (const [name, value] of Object.entries({ url: server.url, token, session })) await own.fill(`[name=${name}]`, value);
    await own.click("button");
    await own.getByText("saved").waitFor();
    const page = await context.newPage();
    await page.goto(`${files.url}/test/support/blank.html`);
    await page.mouse.click(30, 40);
    expect((await recorded(session, 1)).xs).toEqual([30]);

    // The server is gone, a click is accepted, and the worker ends with its browser: the picture is taken and not uploaded.
    await server.down("SIGKILL");
    // Another picture than before.
    await page.evaluate(() => (document.body.style.background = "teal"));
    await page.mouse.click(50, 60);
    await until("the click in the outbox", async () => (await outbox(own)).length === 1);
    const [left] = await until("the picture beside it", async () => {
      const found = await waiting(own);
      return found.length === 1 ? found : null;
    });
    killBrowser(profile);
    await until("the end of the browser", () => page.isClosed());
    await server.up();
    // The next worker goes on with what the first one left; a click wakes it at the latest.
    const again = await withExtension(profile);
    const second = await again.context.newPage();
    await second.goto(`${files.url}/test/support/blank.html`);
    await second.mouse.click(70, 80);
    const three = await recorded(session, 3);
    expect(three.xs).toEqual([30, 50, 70]);
    expect(Buffer.compare(three.pictures[1]!, Buffer.from(left!.picture as number[]))).toBe(0);
    expect(Buffer.compare(three.pictures[1]!, three.pictures[0]!)).not.toBe(0);
    await until("nothing that waits", async () => (await waiting(again.own)).length === 0);

    // The worker alone ends, without a server, between a screenshot and its upload; and as if it had done so between an event
    // and the removal of its picture. Nothing is lost, nothing stored twice.
    await server.down("SIGKILL");
    await putBack(again.own, left!);
    await second.mouse.click(90, 100);
    await until("two pictures that wait", async () => (await waiting(again.own)).length === 2);
    await endWorker(again.context, again.own);
    await server.up();
    // Chrome takes two pictures a second and no third one.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await second.mouse.click(110, 120);
    await until("nothing that waits", async () => (await waiting(again.own)).length === 0);
    await until("an empty outbox", async () => (await outbox(again.own)).length === 0);
    expect((await recorded(session, 5)).xs).toEqual([30, 50, 70, 90, 110]);
  });
});

test("where WebSockets are blocked, a page publishes and follows over HTTP through cuts and a crash, and comes back to a WebSocket", async () => {
  const proxy = await BlockingProxy.start(() => server.url);
  try {
    const page = await sdkPage(await browser(), files.url);
    const session = await newSession();
    await page.evaluate(async ([url, withToken, id]) => {
      window.told = [];
      window.got = [];
      window.client = await window.sdk.connect({
        url: url!, token: withToken!, backoff: { base: 20, max: 200 }, webSocketRetry: 300, onEvent: (event) => window.told.push(event),
      });
      await window.client.follow(id!, "start", (item) => {
        if (item.type === "event") window.got.push(item.data.number);
        else if (!["lifecycle", "presence", "disconnected", "resumed"].includes(item.type)) window.got.push(item.type);
      });
    }, [proxy.url, token, session]);
    expect(await page.evaluate(() => window.client.transport)).toBe("sse");
    const publish = (from: number, to: number): Promise<string[]> => page.evaluate(async ([id, all]) => {
      return (await Promise.all(all.map((number) => window.client.publish(id, { number })))).map(({ status }) => status);
    }, [session, range(from, to)] as const);
    const statuses = [await publish(1, 100)];
    const cut = publish(101, 200);
    proxy.cut();
    statuses.push(await cut);
    const crash = publish(201, 300);
    await server.down("SIGKILL");
    await server.up();
    statuses.push(await crash);
    proxy.upgrades = "pass";
    await page.waitForFunction(() => window.client.transport === "websocket" && window.client.state === "connected");
    statuses.push(await publish(301, 320));
    await page.waitForFunction(() => window.got.includes(320));
    expect(statuses.flat().filter((status) => status !== "stored")).toEqual([]);
    expect(await page.evaluate(() => window.got)).toEqual(range(1, 320));
    expect(await numbers(session)).toEqual(range(1, 320));
  } finally {
    proxy.stop();
  }
});
