/** In a real browser: the durable outbox over reloads and crashes, fencing, the page and the extension. */
import { mkdtempSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BrowserContext, Page, Worker } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
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
  /** The extension's worker, started by something that happens if it is not running. */
  async function workerOf(context: BrowserContext): Promise<Worker> {
    return context.serviceWorkers().find((one) => one.url().includes("background.js")) ?? context.waitForEvent("serviceworker");
  }

  test("publishes clicks and screenshots, and its worker's end costs nothing", async () => {
    const here = fileURLToPath(new URL("../examples/extension/", import.meta.url));
    expect(spawnSync(process.execPath, [`${here}build.mjs`], { encoding: "utf8" }).stderr.replace(/.*nodedir.*\n?/, "")).toBe("");
    const profile = folder();
    const context = await browser(profile, `${here}built`);
    const worker = await workerOf(context);
    const session = await newSession();
    const extension = new URL(worker.url()).host;
    const options = await context.newPage();
    await options.goto(`chrome-extension://${extension}/options.html`);
    for (const [name, value] of Object.entries({ url: server.url, token, session })) await options.fill(`[name=${name}]`, value);
    await options.click("button");
    await options.getByText("saved").waitFor();
    const page = await context.newPage();
    await page.goto(`${files.url}/test/support/blank.html`);
    await page.mouse.click(30, 40);
    const first = await until("the click's evidence", async () => {
      const found = await datas(session);
      return found.length === 2 ? found : null;
    });
    expect(first[0]).toMatchObject({ eventType: "automation_step", step: "click", x: 30, y: 40 });
    expect(first[1]).toMatchObject({ eventType: "evidence", kind: "screenshot" });
    expect(first[1]!.image).toMatch(/^data:image\/jpeg;base64,/);

    // The server is gone, a click is accepted, and the worker ends with its browser.
    await server.down("SIGTERM");
    await page.mouse.click(50, 60);
    await until("the event in the outbox", () => worker.evaluate(async () => {
      const database = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open("agentbench-outbox-recorder");
        request.onsuccess = () => resolve(request.result);
      });
      const count = await new Promise<number>((resolve) => {
        const request = database.transaction("events").objectStore("events").count();
        request.onsuccess = () => resolve(request.result);
      });
      database.close();
      return count === 2;
    }));
    killBrowser(profile);
    await until("the end of the browser", () => page.isClosed());
    await server.up();
    // The next worker sends what the first one left; a click wakes it at the latest.
    const again = await (await browser(profile, `${here}built`)).newPage();
    await again.goto(`${files.url}/test/support/blank.html`);
    await again.mouse.click(70, 80);
    const all = await until("all clicks", async () => {
      const found = await datas(session);
      return found.length === 6 ? found : null;
    });
    expect(all.filter(({ eventType }) => eventType === "automation_step").map(({ x }) => x)).toEqual([30, 50, 70]);
    expect(all.map(({ eventType }) => eventType)).toEqual(["automation_step", "evidence", "automation_step", "evidence", "automation_step", "evidence"]);
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
