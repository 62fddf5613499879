/** The list of sessions: pages, search, filters, what it tells of each, and that many of them stay quick. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newPage, startBrowser } from "./support/browser.js";
import { Pages } from "./support/pages.js";
import { RealServer, publish } from "./support/server.js";
import { RawSocket, createAs } from "./support/socket.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;
let socket: RawSocket;

beforeAll(async () => {
  server = await RealServer.start({ STALL_AFTER: "1000" });
  pages = await Pages.start(server);
  browser = await startBrowser();
  admin = server.token("--user", "ada", "--username", "Ada", "--role", "admin");
  socket = await RawSocket.open(server, admin);
});

afterAll(async () => {
  socket.close();
  await browser.close();
  pages.stop();
  await server.remove();
});

const shown = (page: Page, n: string): Promise<void> => page.locator(".foot").getByText(`${n} shown`, { exact: true }).waitFor();

/** Scrolls down until the list has as many sessions. */
async function scrollUntil(page: Page, n: string): Promise<number> {
  let most = 0;
  for (let step = 0; step < 600; step += 1) {
    if (await page.locator(".foot").getByText(`${n} shown`, { exact: true }).count() > 0) return most;
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await page.waitForTimeout(50);
    most = Math.max(most, await page.locator("*").count());
  }
  throw new Error(`the list never came to ${n}, but to ${await page.locator(".foot").textContent() ?? ""}`);
}

async function createMany(project: string, count: number): Promise<void> {
  for (let made = 0; made < count; made += 500) {
    await Promise.all(Array.from({ length: Math.min(500, count - made) }, (_, index) => (
      createAs(socket, `${project}-${made + index}`, { projectId: project, testId: "paging", agentName: `Agent ${made + index}` }))));
  }
}

test("pages, search, filters, and what the list tells of each session", async () => {
  await createMany("some", 120);
  const { page, problems, context } = await newPage(browser);
  await page.goto(`${pages.url}/#token=${admin}`);
  await page.goto(`${pages.url}/#/sessions`);
  await page.getByLabel("Project", { exact: true }).fill("some");
  await scrollUntil(page, "120");
  // The next look at the server changes nothing: no session is lost or shown twice.
  await page.waitForTimeout(3500);
  await shown(page, "120");
  expect(await page.getByRole("button", { name: "Show more" }).count()).toBe(0);
  const seen = new Set<string | null>();
  for (let top = 0; top < 8000; top += 500) {
    await page.evaluate((to) => scrollTo(0, to), top);
    await page.waitForTimeout(30);
    for (const href of await page.locator("a.row-link").evaluateAll((links) => links.map((link) => link.getAttribute("href")))) seen.add(href);
  }
  expect(seen.size).toBe(120);

  const answer = page.waitForResponse((response) => response.url().includes("q=aGENT"));
  await page.getByLabel("Search agent").fill("aGENT 119");
  expect(((await (await answer).json()) as { sessions: unknown[] }).sessions).toHaveLength(1);
  await shown(page, "1");
  await page.getByLabel("Search agent").fill("");
  await page.getByLabel("Status").selectOption("running");
  await page.getByText("No session fits").waitFor();

  const session = await server.sessions(["create", "--project", "some", "--agent", "Newcomer", "--test", "paging", "--start"]);
  await page.getByText("Newcomer").waitFor();
  // At a pace of some ms.
  await publish(server, admin, session, Array.from({ length: 41 }, (_, percent) => ({ eventType: "progress", percent, message: "under way" })));
  const row = page.locator("tr", { hasText: "Newcomer" });
  await row.getByText("40 %").waitFor();
  await row.getByText(/now|ago/).first().waitFor();
  // It says nothing for longer than its own pace.
  await row.getByText("Silent").waitFor();
  // Both states are seen whole, beside or below each other, and in each language.
  for (const language of ["zh", "en"]) {
    await page.locator("header select").first().selectOption(language);
    for (const width of [360, 768, 800, 1024, 1280, 1440, 1920]) {
      await page.setViewportSize({ width, height: 900 });
      const cut = await page.locator("tr", { hasText: "Newcomer" }).locator(".badge").evaluateAll((badges) => badges.filter((badge) => {
        const [inner, outer] = [badge.getBoundingClientRect(), badge.closest("td")?.getBoundingClientRect()];
        return !outer || inner.left < outer.left || inner.right > outer.right || inner.top < outer.top || inner.bottom > outer.bottom;
      }).map((badge) => badge.textContent));
      expect([language, width, cut]).toEqual([language, width, []]);
    }
  }
  expect(await row.locator(".badge").count()).toBe(2);
  await page.setViewportSize({ width: 1440, height: 900 });
  await publish(server, admin, session, [{ eventType: "progress", percent: 80 }]);
  await row.getByText("80 %").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("10,000 sessions: the list stays quick, and draws only what is in sight", async () => {
  const began = Date.now();
  await createMany("many", 10_000);
  const created = Date.now();
  const { page, problems, context } = await newPage(browser);
  await page.goto(`${pages.url}/#token=${admin}`);
  await page.getByText("Live", { exact: true }).waitFor();
  const asked = Date.now();
  await page.evaluate(() => { location.hash = "#/sessions"; });
  await page.locator("a.row-link").first().waitFor();
  const first = Date.now();
  await page.getByLabel("Project", { exact: true }).fill("many");
  const most = await scrollUntil(page, "10,000");
  const all = Date.now();
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight / 2));
  await page.waitForFunction(() => {
    const rows = [...document.querySelectorAll("table.sessions tbody:not(.room) tr")];
    return rows.some((row) => row.getBoundingClientRect().top <= 0) && (rows.at(-1)?.getBoundingClientRect().bottom ?? 0) >= innerHeight;
  });
  expect(await page.locator("*").count()).toBeLessThan(1500);
  await page.getByLabel("Search agent").fill("agent 9876");
  const typed = Date.now();
  await page.locator("a.row-link", { hasText: "Agent 9876" }).waitFor();
  await shown(page, "1");
  const found = Date.now();
  console.log(`10,000 sessions: created in ${created - began} ms; first rows after ${first - asked} ms, all of them scrolled through after ${all - first} ms, `
    + `one found after ${found - typed} ms; ${most} nodes at the most`);
  expect(most).toBeLessThan(1500);
  expect(problems).toEqual([]);
  await context.close();
});
