/** What interrupts a reader: sleep, a token that ends, events that were too old, a server whose data are others. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Watched, newPage, sleep, startBrowser } from "./support/browser.js";
import { numbers, reaches, seqsShown } from "./support/list.js";
import { Pages } from "./support/pages.js";
import { RealServer, log, publish } from "./support/server.js";
import { RawSocket, createAs } from "./support/socket.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;

beforeAll(async () => {
  // Little fits between the server and a reader that stands still.
  server = await RealServer.start({ SEND_BUFFER: "16384", COMPRESSION: "false" });
  pages = await Pages.start(server);
  browser = await startBrowser();
  admin = server.token("--user", "ada", "--username", "Ada", "--role", "admin");
});

afterAll(async () => {
  await browser.close();
  pages.stop();
  await server.remove();
});

const create = (...more: string[]): Promise<string> => server.sessions(["create", "--project", "demo", "--agent", "Tester", "--test", "e2e", ...more]);
const lines = (count: number, word: string): Record<string, unknown>[] => Array.from({ length: count }, (_, index) => ({ eventType: "console_log", level: "info", message: `${word} ${index + 1}` }));

async function open(session: string, token = admin): Promise<Watched> {
  const watched = await newPage(browser);
  await watched.page.addInitScript((kept) => sessionStorage.setItem("agentbench.token", kept), token);
  await watched.page.goto(`${pages.url}/#/sessions/${session}`);
  await watched.page.getByRole("listbox").waitFor();
  return watched;
}

/** The longest time that the page's timers stood still, ms. */
const longestSleep = (page: Page): Promise<number> => page.evaluate(() => {
  const { ticks } = window as unknown as { ticks: number[] };
  return Math.max(...ticks.slice(1).map((at, index) => at - (ticks[index] ?? at)));
});

test("a page that slept has everything once and in order, also if the server was killed meanwhile", async () => {
  const session = await create("--start");
  const { page, problems, context } = await open(session);
  await publish(server, admin, session, lines(20, "before"));
  await reaches(page, 22);
  for (const isKilled of [false, true]) {
    await page.evaluate(() => {
      const ticks: number[] = [];
      Object.assign(window, { ticks });
      setInterval(() => ticks.push(Date.now()), 20);
    });
    await page.waitForTimeout(200);
    const wake = await sleep(browser);
    await publish(server, admin, session, lines(300, "asleep"));
    if (isKilled) {
      await server.kill();
      await server.up();
    }
    await publish(server, admin, session, lines(300, "still asleep"));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    wake();
    const all = await log(server, admin, session);
    await reaches(page, all.length);
    await page.waitForTimeout(100);
    expect(await longestSleep(page)).toBeGreaterThan(1000);
    await publish(server, admin, session, lines(1, "awake"));
    await reaches(page, all.length + 1);
    expect(await seqsShown(page)).toEqual(numbers(all.length + 1));
    expect(await page.locator("[data-gap]").count()).toBe(0);
  }
  expect(await log(server, admin, session)).toHaveLength(1224);
  expect(problems).toEqual([]);
  await context.close();
});

test("a token that ends while one is signed in: the page says so, takes a new one, and goes on in the same place", async () => {
  const session = await create("--start");
  await publish(server, admin, session, lines(40, "before"));
  const short = (ttl: string): string => server.token("--user", "vic", "--username", "Vic", "--role", "viewer", "--ttl", ttl);
  const { page, problems, context } = await newPage(browser);
  await page.goto(`${pages.url}/#token=${short("20")}`);
  await page.getByText("Live", { exact: true }).waitFor();
  await page.evaluate((id) => { location.hash = `#/sessions/${id}`; }, session);
  await reaches(page, 42);
  await page.locator('[data-seq="42"]').waitFor();
  for (let step = 0; step < 30; step += 1) await page.keyboard.press("k");
  await page.locator("#tab-people").click();
  const chosen = (): Promise<string | null> => page.locator('.vrow[aria-selected="true"] [data-seq]').getAttribute("data-seq");
  const place = await chosen();
  expect(Number(place)).toBeLessThan(20);
  await page.getByText("Your token has expired").waitFor();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  expect(await page.getByText("before 12").count()).toBe(0);
  await publish(server, admin, session, lines(40, "meanwhile"));
  await page.getByLabel("Token").fill(short("600"));
  await page.getByRole("button", { name: "Sign in" }).click();
  await reaches(page, 82);
  expect(await chosen()).toBe(place);
  expect(await page.locator("#tab-people").getAttribute("aria-selected")).toBe("true");
  await publish(server, admin, session, lines(1, "afterwards"));
  await reaches(page, 83);
  expect(await seqsShown(page)).toEqual(numbers(83));
  // Somebody else begins anew.
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Token").fill(admin);
  await page.getByRole("button", { name: "Sign in" }).click();
  await reaches(page, 83);
  expect(await page.locator('.vrow[aria-selected="true"]').count()).toBe(0);
  expect(problems).toEqual([]);
  await context.close();
});

test("events whose time was over before they came stand as a gap in their place, and can be loaded", async () => {
  const session = await create("--start");
  const { page, problems, context } = await open(session);
  await reaches(page, 2);
  pages.hold(true);
  const filling = Array.from({ length: 80 }, (_, index) => ({ eventType: "console_log", level: "info", message: `filling ${index} ${"x".repeat(100_000)}` }));
  for (let at = 0; at < filling.length; at += 20) await publish(server, admin, session, filling.slice(at, at + 20));
  await publish(server, admin, session, lines(25, "short-lived"), { ttl: 1 });
  await publish(server, admin, session, lines(5, "lasting"));
  await new Promise((resolve) => setTimeout(resolve, 300));
  pages.hold(false);
  await reaches(page, 112);
  const gap = page.locator("[data-gap]");
  await gap.waitFor();
  expect(await gap.getAttribute("data-gap")).toBe("83-107");
  expect(await gap.textContent()).toBe("Events 83–107 are not here: their time to live was over");
  expect(await seqsShown(page)).toEqual(numbers(112).filter((seq) => seq < 83 || seq > 107));
  await gap.click();
  await page.getByRole("button", { name: "Load from the log" }).click();
  await page.locator(".vrow").getByText("short-lived 1", { exact: true }).waitFor();
  expect(await page.locator("[data-gap]").count()).toBe(0);
  expect(await seqsShown(page)).toEqual(numbers(112));
  expect(problems).toEqual([]);
  await context.close();
});

const FIXED = { projectId: "demo", testId: "e2e", agentName: "Tester" };

test("a data folder that was emptied is said: no old event stands beside the new ones", async () => {
  const first = await RawSocket.open(server, admin);
  const session = await createAs(first, "always-the-same", FIXED);
  await first.command("start-1", { command: "start_test", sessionId: session });
  first.close();
  await publish(server, admin, session, lines(30, "of the old log"));
  const { page, problems, context } = await open(session);
  await reaches(page, 32);
  // The page is kept away until the session is there again: the same name, another log.
  pages.cut(true);
  await server.kill();
  server.empty();
  await server.up();
  const second = await RawSocket.open(server, admin);
  expect(await createAs(second, "always-the-same", FIXED)).toBe(session);
  await second.command("start-2", { command: "start_test", sessionId: session });
  second.close();
  await publish(server, admin, session, lines(50, "of the new log"));
  pages.cut(false);
  await page.getByRole("alert").getByText("another history of this session").waitFor();
  await reaches(page, 52);
  expect(await seqsShown(page)).toEqual(numbers(52));
  await page.locator(".vlist").evaluate((list) => { list.scrollTop = 0; });
  await page.getByText("of the new log 1", { exact: true }).waitFor();
  expect(await page.getByText("of the old log").count()).toBe(0);
  await page.getByRole("button", { name: "I have seen it" }).click();
  await page.getByRole("alert").waitFor({ state: "detached" });
  // And once more, with nothing in its place.
  await server.kill();
  server.empty();
  await server.up();
  await page.getByText("There is no such session").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});
