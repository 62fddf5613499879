/** By which addresses one comes to the pages: below a path of a proxy, and by a link that signs in. */
import type { Browser } from "playwright-core";
import { describe, expect, test } from "vitest";
import { newPage } from "./support/browser.js";
import { reaches } from "./support/list.js";
import type { Pages } from "./support/pages.js";
import { PrefixProxy } from "./support/prefix.js";
import { PNG } from "./support/run.js";
import { create, scene } from "./support/scene.js";
import { type RealServer, publish, store } from "./support/server.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;

scene((made) => ({ server, pages, browser, admin } = made));

describe.each(["", "/bench", "/a/b.c/d~e"])("below the path %j of a proxy", (prefix) => {
  test("the pages, their calls, evidence, export and sockets stay there", async () => {
    const proxy = await PrefixProxy.start(pages.url, prefix);
    const session = await create({ server }, "--start");
    const hash = await store(server, admin, session, PNG, "image/png");
    await publish(server, admin, session, [{ eventType: "evidence", kind: "screenshot", hash, contentType: "image/png", caption: "the cart" }]);
    const { page, problems, context } = await newPage(browser);
    const [asked, sockets]: [string[], string[]] = [[], []];
    page.on("request", (request) => { if (!/^(blob|data):/.test(request.url())) asked.push(request.url()); });
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await page.goto(`${proxy.url}#token=${admin}`);
    await page.getByText("Live", { exact: true }).waitFor();
    await page.getByText("Events per second").first().waitFor();
    await page.waitForFunction(() => (document.querySelector<HTMLImageElement>(".brand img")?.naturalWidth ?? 0) > 0);
    await page.getByRole("link", { name: "Sessions" }).click();
    await page.locator(`a.row-link[href="#/sessions/${session}"]`).click();
    await reaches(page, 3);
    await publish(server, admin, session, [{ eventType: "console_log", level: "info", message: "live below a path" }]);
    await page.getByText("live below a path").first().waitFor();
    await page.locator("#tab-evidence").click();
    await page.locator('.thumb img[src^="blob:"]').waitFor();
    const saved = page.waitForEvent("download");
    await page.getByRole("button", { name: "JSONL" }).click();
    await saved;
    await page.reload();
    await page.getByText("live below a path").first().waitFor();
    expect(asked.length).toBeGreaterThan(8);
    expect(asked.filter((url) => !url.startsWith(proxy.url))).toEqual([]);
    expect(new Set(sockets.map((url) => url.replace(/\?.*/, "")))).toEqual(new Set([`${proxy.url.replace("http", "ws")}ws`]));
    expect(proxy.strays).toEqual([]);
    expect(problems).toEqual([]);
    await context.close();
    proxy.stop();
  });
});

const ROLES: [string, string[]][] = [
  ["admin", ["--role", "admin"]], ["evaluator", ["--role", "evaluator"]], ["viewer", ["--role", "viewer"]],
  ["reviewer", ["--role", "viewer", "--permission", "session:review"]], ["evaluator of one project", ["--role", "evaluator", "--project", "demo"]],
];

describe.each(ROLES)("a link with the token of a %s", (_name, options) => {
  test("signs in, and leaves no token in the address, the history or the links of the page", async () => {
    const token = server.token("--user", "lin", "--username", "Lin", ...options);
    const { page, problems, context } = await newPage(browser);
    await page.goto(`${pages.url}/#token=${token}`);
    await page.getByText("Live", { exact: true }).waitFor();
    await page.locator(".who").getByText("Lin").waitFor();
    expect(page.url()).toBe(`${pages.url}/#/`);
    expect(await page.evaluate(() => history.length)).toBeLessThanOrEqual(2);
    await page.getByRole("link", { name: "Sessions" }).click();
    await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
    await page.goBack();
    await page.getByRole("heading", { name: "Now", exact: true }).waitFor();
    expect(page.url()).not.toContain(token);
    expect(await page.content()).not.toContain(token);
    expect(problems).toEqual([]);
    await context.close();
  });
});

test("a link that is opened where somebody is signed in signs in the one of the link", async () => {
  const { page, context } = await newPage(browser);
  await page.goto(`${pages.url}/#token=${admin}`);
  await page.locator(".who").getByText("Ada").waitFor();
  const other = server.token("--user", "lin", "--username", "Lin", "--role", "viewer");
  await page.evaluate((token) => { location.hash = `#token=${token}`; }, other);
  await page.locator(".who").getByText("Lin").waitFor();
  expect(page.url()).toBe(`${pages.url}/#/`);
  await context.close();
});

test("a link with a token of another server says that it is not accepted, and not that it has expired", async () => {
  const { page, context } = await newPage(browser);
  await page.goto(`${pages.url}/#token=${admin.slice(0, -6)}AAAAAA`);
  await page.getByText("The server does not accept this token").waitFor();
  expect(await page.getByText("has expired").count()).toBe(0);
  expect(page.url()).not.toContain("token");
  await context.close();
});
