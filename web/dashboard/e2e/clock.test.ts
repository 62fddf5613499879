/** Pages whose clock is wrong: what comes from the server is held against the server's clock alone. */
import type { Browser } from "playwright-core";
import { describe, expect, test } from "vitest";
import { type Watched, newPage } from "./support/browser.js";
import { reaches } from "./support/list.js";
import type { Pages } from "./support/pages.js";
import { create, scene } from "./support/scene.js";
import { type RealServer, publish } from "./support/server.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;

scene((made) => ({ server, pages, browser, admin } = made));

const HOUR = 3_600_000;

/** A page whose clock is `ahead` ms of the server's. `window.ahead` can be set later, as a user sets a clock. */
async function pageAhead(ahead: number): Promise<Watched> {
  const watched = await newPage(browser);
  await watched.page.addInitScript((by) => {
    const real = Date;
    const clock = window as unknown as { ahead: number };
    clock.ahead = by;
    window.Date = class extends real {
      constructor(...given: [] | [number]) {
        if (given.length === 0) super(real.now() + clock.ahead);
        else super(...given);
      }

      static override now(): number {
        return real.now() + clock.ahead;
      }
    } as DateConstructor;
  }, ahead);
  return watched;
}

describe.each([["7 h fast", 7 * HOUR], ["7 h slow", -7 * HOUR], ["a year fast", 366 * 24 * HOUR]])("a clock that is %s", (_name, ahead) => {
  test("ends no token, and makes nothing older or younger than it is", async () => {
    const session = await create({ server }, "--start");
    const token = server.token("--user", "vic", "--role", "viewer", "--ttl", "3600");
    const { page, problems, context } = await pageAhead(ahead);
    await page.goto(pages.url);
    expect(Math.abs((await page.evaluate(() => Date.now())) - Date.now() - ahead)).toBeLessThan(HOUR);
    await page.getByLabel("Token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    await page.goto(`${pages.url}/#/sessions`);
    const row = page.locator("tr", { has: page.locator(`a[href="#/sessions/${session}"]`) });
    await row.locator("td").nth(6).getByText(/^\d+ ?s(ec)? ago$/).waitFor();
    await row.locator("a").click();
    await reaches(page, 2);
    await page.locator(".facts").getByText(/Duration [1-9]\d*\.\d s/).waitFor();
    // The link of the same token, too.
    await page.goto(`${pages.url}/?again#token=${token}`);
    await page.getByText("Live", { exact: true }).waitFor();
    expect(await page.getByText("expired").count()).toBe(0);
    expect(problems).toEqual([]);
    await context.close();
  });

  test("does not hide that a token has ended", async () => {
    const { page, problems, context } = await pageAhead(ahead);
    await page.goto(`${pages.url}/#token=${server.token("--user", "short", "--role", "viewer", "--ttl", "6")}`);
    await page.getByText("Live", { exact: true }).waitFor();
    await page.getByText("Your token has expired").waitFor();
    expect(problems).toEqual([]);
    await context.close();
  });
});

test("a clock that is set while the page is open changes nothing for long", async () => {
  const session = await create({ server }, "--start");
  await publish(server, admin, session, [{ eventType: "progress", percent: 5 }]);
  const { page, problems, context } = await pageAhead(0);
  await page.goto(`${pages.url}/#token=${admin}`);
  await page.getByText("Live", { exact: true }).waitFor();
  await page.goto(`${pages.url}/#/sessions/${session}`);
  for (const ahead of [5 * HOUR, -5 * HOUR]) {
    const asked = page.waitForResponse(/\/healthz$/);
    await page.evaluate((by) => Object.assign(window, { ahead: by }), ahead);
    await asked;
    await page.locator(".facts").getByText(/Duration (\d+\.\d s|[1-9] min)/).waitFor();
    expect(await page.getByText("expired").count()).toBe(0);
  }
  expect(problems).toEqual([]);
  await context.close();
});
