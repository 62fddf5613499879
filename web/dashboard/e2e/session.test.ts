/** One session in a real browser: live, over a crash of the server, offline, replayed, and long. */
import type { Browser } from "playwright-core";
import { expect, test } from "vitest";
import { type Watched, newPage, seqsDrawn, shot } from "./support/browser.js";
import { numbers, reaches, seqsShown } from "./support/list.js";
import type { Pages } from "./support/pages.js";
import { shopRun } from "./support/run.js";
import { create as createIn, open as openIn, scene } from "./support/scene.js";
import { type RealServer, log, publish } from "./support/server.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;

scene((made) => ({ server, pages, browser, admin } = made));

const create = (...more: string[]): Promise<string> => createIn({ server }, ...more);

const open = (session: string, token = admin): Promise<Watched> => openIn({ browser, pages }, session, token);

test("sign in, and out; a bad and an expired token say so", async () => {
  const { page, problems, context } = await newPage(browser);
  await page.goto(pages.url);
  await page.getByLabel("Token").fill("nonsense");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("This is not a token").waitFor();
  await page.getByLabel("Token").fill(admin.slice(0, -4) + "AAAA");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("The server does not accept this token").waitFor();
  await page.getByLabel("Token").fill(admin);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.reload();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Token").waitFor();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  await page.goto(`${pages.url}/#token=${server.token("--user", "short", "--role", "viewer", "--ttl", "3")}`);
  await page.getByText("Your token has expired").waitFor();
  expect(page.url()).not.toContain("token");
  await page.goto(`${pages.url}/#token=%E0%A4%A`);
  await page.getByLabel("Token").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("what the Rust client publishes is shown as it arrives", async () => {
  const session = await create("--start");
  const { page, problems, context } = await open(session);
  await reaches(page, 2);
  const lines = shopRun().map((event) => JSON.stringify(event)).join("\n");
  await server.sessions(["publish", session], `${lines}\n`);
  await page.getByText("The payment service does not answer").waitFor();
  const all = await log(server, admin, session);
  await reaches(page, all.length);
  expect(await seqsShown(page)).toEqual(all.map(({ seq }) => seq));
  await page.locator("#tab-steps").click();
  expect(await page.locator(".steps li").count()).toBe(5);
  expect(problems).toEqual([]);
  await context.close();
});

test("controls, notes and scores of those who may; none of those who may not", async () => {
  const session = await create();
  const { page, problems, context } = await open(session);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.locator(".session-head").getByText("Running").waitFor();
  // A viewer who may review, and nothing else.
  const reviewer = await open(session, server.token("--user", "rita", "--username", "Rita", "--role", "viewer", "--permission", "session:review"));
  await reviewer.page.locator("#tab-scores").click();
  await reviewer.page.locator("#note").fill("why here?");
  await reviewer.page.getByRole("button", { name: "Add note" }).click();
  await reviewer.page.getByLabel("Criterion").fill("Honesty");
  await reviewer.page.getByLabel("Score", { exact: true }).fill("3");
  await reviewer.page.getByLabel("Out of").fill("5");
  await reviewer.page.getByRole("button", { name: "Score", exact: true }).click();
  await reviewer.page.locator(".newest").getByText("3.00 of 5.00").waitFor();
  expect(await reviewer.page.getByRole("button", { name: "Stop", exact: true }).count()).toBe(0);
  expect(reviewer.problems).toEqual([]);
  await reviewer.context.close();
  await page.locator("#tab-scores").click();
  await page.locator(".notes").getByText("why here?").waitFor();
  await page.locator(".newest").getByText("3.00 of 5.00").waitFor();
  await page.locator("#note").fill("<b>looks right</b>");
  await page.getByRole("button", { name: "Add note" }).click();
  await page.locator(".notes").getByText("<b>looks right</b>").waitFor();
  await page.getByLabel("Criterion").fill("Care");
  await page.getByLabel("Score", { exact: true }).fill("0.75");
  await page.getByRole("button", { name: "Score", exact: true }).click();
  await page.locator(".newest").getByText("0.75 of 1.00").waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.locator(".session-head").getByText("Completed").waitFor();
  await page.getByText("The session has ended: notes and scores can be given only before").waitFor();
  expect(await page.locator("form.review").count()).toBe(0);
  expect(problems).toEqual([]);
  await context.close();
  const other = await open(session, server.token("--user", "vic", "--role", "viewer"));
  await reaches(other.page, 6);
  await other.page.locator("#tab-scores").click();
  expect(await other.page.locator("form.review").count()).toBe(0);
  expect(await other.page.getByRole("button", { name: "Stop", exact: true }).count()).toBe(0);
  // Nothing newer will come.
  await other.page.locator(".vrow").first().click();
  const toEnd = other.page.getByRole("button", { name: "To the end" });
  expect(await other.page.getByRole("button", { name: "Follow the newest" }).count()).toBe(0);
  await toEnd.click();
  await toEnd.waitFor({ state: "detached" });
  await other.context.close();
});

test("a killed server comes back, and the page goes on without hole or repeat", async () => {
  const session = await create("--start");
  const { page, context } = await open(session);
  await publish(server, admin, session, Array.from({ length: 300 }, (_, index) => ({ eventType: "progress", percent: index % 100, n: index })));
  await reaches(page, 302);
  for (let round = 1; round <= 2; round += 1) {
    const publishing = publish(server, admin, session, Array.from({ length: 200 }, (_, index) => ({ eventType: "progress", percent: 1, round, index }))).catch(() => undefined);
    await server.kill();
    await publishing;
    await page.getByText("Connection lost").waitFor();
    await server.up();
    await publish(server, admin, session, [{ eventType: "console_log", level: "info", message: `back ${round}` }]);
    await page.getByText(`back ${round}`).first().waitFor();
  }
  const all = await log(server, admin, session);
  await reaches(page, all.length);
  expect(await page.locator("[data-gap]").count()).toBe(0);
  expect(await seqsShown(page)).toEqual(numbers(all.length));
  await context.close();
});

test("offline and back", async () => {
  const session = await create("--start");
  const { page, context } = await open(session);
  await reaches(page, 2);
  const devtools = await context.newCDPSession(page);
  const offline = (is: boolean): Promise<unknown> => devtools.send("Network.emulateNetworkConditions", { offline: is, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await context.setOffline(true);
  await offline(true);
  await publish(server, admin, session, [{ eventType: "console_log", level: "info", message: "said meanwhile" }]);
  await page.waitForTimeout(1500);
  expect(await page.getByText("said meanwhile").count()).toBe(0);
  await offline(false);
  await context.setOffline(false);
  await page.getByText("said meanwhile").waitFor({ timeout: 90_000 });
  expect(await seqsShown(page)).toEqual([1, 2, 3]);
  await context.close();
});

test("replay: by the page, by steps, to the next error, by the server, and back to live", async () => {
  const session = await create("--start");
  await publish(server, admin, session, shopRun());
  const all = await log(server, admin, session);
  const { page, problems, context } = await open(session);
  await reaches(page, all.length);
  const upTo = (): Promise<number> => page.locator(".session").evaluate((element) => Number(element.getAttribute("data-upto")));
  await page.locator(".vlist").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press(" ");
  await page.getByRole("button", { name: "Back to live" }).waitFor();
  await reaches(page, all.length);
  await page.locator(".scrubber input").fill("5");
  expect(await upTo()).toBe(5);
  expect((await seqsDrawn(page)).at(-1)).toBe(5);
  await page.locator(".vlist").focus();
  await page.keyboard.press("ArrowRight");
  expect(await upTo()).toBe(6);
  await page.keyboard.press("n");
  const firstError = all.find(({ data }) => data.status === 502)?.seq;
  expect(await upTo()).toBe(firstError);
  await publish(server, admin, session, [{ eventType: "console_log", level: "info", message: "news" }]);
  expect(await upTo()).toBe(firstError);
  await page.getByLabel("Speed").selectOption("64");
  await page.getByRole("button", { name: "Let the server play" }).click();
  await reaches(page, all.length + 1);
  await page.getByRole("button", { name: "Back to live" }).click();
  await page.getByText("news").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("the keys count where the slider was moved, and what a key does not find is said", async () => {
  const session = await create("--start");
  await publish(server, admin, session, [{ eventType: "error", message: "early" }, ...shopRun().slice(0, 20)]);
  const { page, problems, context } = await open(session);
  await reaches(page, 23);
  const slider = page.locator(".scrubber input");
  await slider.fill("10");
  await slider.press("ArrowRight");
  expect(await slider.inputValue()).toBe("11");
  await slider.press("n");
  await page.getByText("No later error in what is loaded").waitFor();
  expect((await page.getByText("No later error in what is loaded").boundingBox())?.width).toBeGreaterThan(100);
  await slider.press(" ");
  await page.getByRole("button", { name: "Pause", exact: true }).first().waitFor();
  await slider.press("Escape");
  await page.getByRole("button", { name: "Back to live" }).waitFor({ state: "detached" });
  await page.keyboard.press("Home");
  expect(problems).toEqual([]);
  await context.close();
});

test("a log of large events is shown, and only as much of it is kept as a page can hold", async () => {
  const session = await create("--start");
  const [total, size] = [50, 6_000_000];
  for (let at = 1; at <= total; at += 1) {
    await publish(server, admin, session, [{ eventType: "console_log", level: "info", message: `large ${at} ${"x".repeat(size)}` }]);
  }
  const { page, problems, context } = await open(session);
  await page.getByText(`large ${total}`).first().waitFor();
  // What is in sight comes, part by part.
  await page.waitForFunction(() => document.querySelector(".event.waiting") === null);
  const note = page.locator(".loaded");
  await note.waitFor();
  expect(Number((await note.textContent())?.split(" ")[0])).toBeLessThan(total);
  await page.locator(".vlist").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.locator(".panel h2").getByText("large 1 ").waitFor();
  await page.waitForFunction(() => document.querySelector(".event.waiting") === null);
  await page.getByRole("button", { name: "Load all" }).click();
  await note.getByText("as many as a page can hold").waitFor({ timeout: 60_000 });
  expect(problems).toEqual([]);
  await context.close();
});

test("a log of 100,000 events opens, and only what is seen is drawn", async () => {
  const session = await create("--start");
  const total = 100_000;
  for (let at = 0; at < total; at += 10_000) {
    await publish(server, admin, session, Array.from({ length: 10_000 }, (_, index) => (
      { eventType: "console_log", level: index % 997 === 0 ? "error" : "info", message: `line ${at + index}` })));
  }
  const { page, problems, context } = await newPage(browser);
  await page.goto(`${pages.url}/#token=${admin}`);
  await page.getByText("Live", { exact: true }).waitFor();
  const began = Date.now();
  await page.evaluate((id) => { location.hash = `#/sessions/${id}`; }, session);
  await page.locator(`[data-seq="${total + 2}"]`).waitFor();
  console.log(`a log of ${total + 2} events was shown after ${Date.now() - began} ms`);
  expect(await page.locator("*").count()).toBeLessThan(1500);
  for (const place of [0.5, 0, 0.999, 0.25]) {
    await page.locator(".vlist").evaluate((list, part) => { list.scrollTop = part * (list.scrollHeight - list.clientHeight); }, place);
    await page.waitForTimeout(150);
    await page.waitForFunction(() => document.querySelector("[data-seq]") !== null && document.querySelector(".event.waiting") === null);
    const drawn = await seqsDrawn(page);
    expect(drawn).toEqual(numbers(drawn.length).map((seq) => seq + (drawn[0] ?? 0) - 1));
    expect(await page.locator("*").count()).toBeLessThan(1500);
  }
  await shot(page, "long-light");
  await page.locator(".vlist").focus();
  await page.keyboard.press("Home");
  await page.locator('[data-seq="1"]').waitFor();
  await page.keyboard.press("End");
  await page.locator(`[data-seq="${total + 2}"]`).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("all of it by keyboard", async () => {
  const session = await create("--start");
  await publish(server, admin, session, shopRun());
  const { page, context } = await newPage(browser);
  await page.goto(pages.url);
  await page.getByLabel("Token").focus();
  await page.keyboard.insertText(admin);
  await page.keyboard.press("Enter");
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Sessions" }).focus();
  await page.keyboard.press("Enter");
  // What runs now is listed on the view before, too.
  await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
  await page.locator(`a.row-link[href="#/sessions/${session}"]`).focus();
  await page.keyboard.press("Enter");
  await reaches(page, 40);
  const chosen = async (): Promise<number> => Number(await page.locator('.vrow[aria-selected="true"] [data-seq]').getAttribute("data-seq"));
  await page.keyboard.press("Home");
  expect(await chosen()).toBe(1);
  await page.keyboard.press("j");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("k");
  expect(await chosen()).toBe(2);
  await page.keyboard.press("n");
  await page.locator('.vrow[aria-selected="true"] .tone-bad').waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("payment service");
  await page.waitForFunction(() => document.querySelectorAll(".vrow").length === 1);
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("e");
  await page.locator("dialog.viewer[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  await page.keyboard.press(" ");
  await page.getByRole("button", { name: "Back to live" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Replay" }).waitFor();
  await context.close();
});
