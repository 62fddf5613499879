/** One session in a real browser: live, over a crash of the server, offline, replayed, exported, long, and hostile. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Watched, newPage, seqsDrawn, shot, startBrowser } from "./support/browser.js";
import { Pages, exportFile } from "./support/pages.js";
import { PICTURE, shopRun } from "./support/run.js";
import { RealServer, log, publish } from "./support/server.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;

beforeAll(async () => {
  server = await RealServer.start();
  pages = await Pages.start(server);
  browser = await startBrowser();
  admin = server.token("--user", "ada", "--username", "Ada", "--role", "admin", "--permission", "session:review");
});

afterAll(async () => {
  await browser.close();
  pages.stop();
  await server.remove();
});

const create = (...more: string[]): Promise<string> => server.sessions(["create", "--project", "demo", "--agent", "Tester", "--test", "e2e", ...more]);

async function open(session: string, token = admin): Promise<Watched> {
  const watched = await newPage(browser);
  await watched.page.goto(`${pages.url}/#token=${token}`);
  await watched.page.waitForFunction(() => !location.hash.includes("token"));
  await watched.page.goto(`${pages.url}/#/sessions/${session}`);
  await watched.page.getByRole("listbox").waitFor();
  return watched;
}

/** Waits until the page has come as far as a seq. */
async function reaches(page: Page, seq: number): Promise<void> {
  await page.waitForFunction((wanted) => Number(document.querySelector(".session")?.getAttribute("data-upto")) >= wanted, seq, { timeout: 60_000 });
}

/** Every seq that the list shows, read by scrolling through all of it. */
async function seqsShown(page: Page): Promise<number[]> {
  const found: number[] = [];
  await page.locator(".vlist").evaluate((list) => { list.scrollTop = 0; });
  for (let step = 0; step < 500; step += 1) {
    await page.waitForFunction(() => document.querySelector(".event.waiting") === null);
    found.push(...(await seqsDrawn(page)).filter((seq) => seq > (found.at(-1) ?? 0)));
    const isEnd = await page.locator(".vlist").evaluate((list) => {
      const before = list.scrollTop;
      list.scrollTop += 400;
      return list.scrollTop === before;
    });
    if (isEnd) return found;
    await page.waitForTimeout(60);
  }
  throw new Error("the list has no end");
}

const numbers = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

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
  await page.reload();
  await page.getByText("Your token has expired").waitFor();
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
  await page.locator("#tab-scores").click();
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
  expect(problems).toEqual([]);
  await context.close();
  const other = await open(session, server.token("--user", "vic", "--role", "viewer"));
  await reaches(other.page, 4);
  await other.page.locator("#tab-scores").click();
  expect(await other.page.locator("form.review").count()).toBe(0);
  expect(await other.page.getByRole("button", { name: "Stop", exact: true }).count()).toBe(0);
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

const HOSTILE: Record<string, unknown>[] = [
  "<script>window.hurt = 1</script>", "<img src=x onerror=\"window.hurt = 2\">", "<svg onload=\"window.hurt = 3\">", "javascript:window.hurt=4",
  "</script><script>window.hurt = 5</script>", "\u202Egpj.exe\u2066", "x".repeat(200_000), "{{constructor.constructor('window.hurt=6')()}}", "\u0000\u0007\u2028\u2029", "__proto__",
].flatMap((text): Record<string, unknown>[] => [
  { eventType: text.slice(0, 100), text },
  { eventType: "console_log", level: text, message: text, source: text },
  { eventType: "automation_step", stepId: text, name: text, status: text, error: text },
  { eventType: "network_request", method: text, url: text, status: text },
  { eventType: "evidence", kind: text, hash: text, contentType: text, caption: text, image: text },
  { eventType: "evidence", image: `data:image/svg+xml;base64,${Buffer.from("<svg xmlns='http://www.w3.org/2000/svg' onload='window.hurt=7'/>").toString("base64")}`, caption: text },
  { eventType: "evidence", image: "data:text/html,<script>window.hurt=8</script>", contentType: "text/html", caption: text },
  { eventType: "score_update", criterion: text, score: 0.5, comment: text },
  { eventType: "review_note", text, at: text },
  { eventType: "error", message: text, code: text, stack: text },
  { eventType: "progress", percent: text, message: text },
]);

async function walkThrough(page: Page): Promise<void> {
  for (const tab of ["steps", "evidence", "scores", "people", "details"]) {
    await page.locator(`#tab-${tab}`).click();
    await page.waitForTimeout(150);
  }
  await page.locator(".vlist").focus();
  await page.keyboard.press("Home");
  for (let step = 0; step < 40; step += 1) await page.keyboard.press("j");
  await page.keyboard.press("e");
  await page.locator("dialog[open]").waitFor();
  for (let step = 0; step < 5; step += 1) await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Escape");
}

test("hostile events execute nothing, on the page and in its export", async () => {
  const session = await server.sessions(["create", "--project", "<script>window.hurt=9</script>", "--agent", "<img src=x onerror=window.hurt=10>", "--test", "javascript:alert(1)", "--start"]);
  await publish(server, admin, session, HOSTILE);
  await publish(server, admin, session, [{ eventType: "evidence", kind: "screenshot", image: PICTURE, caption: "harmless" }]);
  const { page, problems, context } = await open(session);
  await reaches(page, HOSTILE.length);
  await walkThrough(page);
  await page.goto(`${pages.url}/#/sessions`);
  await page.getByText("<img src=x onerror").first().waitFor();
  await page.goto(`${pages.url}/#/sessions/${session}`);
  await reaches(page, HOSTILE.length);
  expect(await page.evaluate(() => "hurt" in window)).toBe(false);
  expect(problems).toEqual([]);

  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "HTML file" }).click();
  const path = join(mkdtempSync(join(tmpdir(), "agentbench-export-")), "session.html");
  await (await saved).saveAs(path);
  await context.close();
  const file = await newPage(browser, { theme: "dark" });
  await file.context.setOffline(true);
  await file.page.goto(`file://${path}`);
  await reaches(file.page, HOSTILE.length);
  await walkThrough(file.page);
  expect(await file.page.evaluate(() => "hurt" in window)).toBe(false);
  expect(file.problems).toEqual([]);
  await file.context.close();
});

test("an exported file opens without a server, and has everything", async () => {
  const session = await create("--start");
  await publish(server, admin, session, shopRun());
  const all = await log(server, admin, session);
  const { page, context } = await open(session);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "HTML file" }).click();
  const folder = mkdtempSync(join(tmpdir(), "agentbench-export-"));
  const path = join(folder, "session.html");
  await (await saved).saveAs(path);
  const jsonl = page.waitForEvent("download");
  await page.getByRole("button", { name: "JSONL" }).click();
  await (await jsonl).saveAs(join(folder, "session.jsonl"));
  await context.close();
  const file = await newPage(browser);
  const asked: string[] = [];
  file.page.on("request", (request) => { if (!/^(file|data|blob):/.test(request.url())) asked.push(request.url()); });
  await file.page.goto(`file://${path}`);
  await reaches(file.page, all.length);
  expect(await seqsShown(file.page)).toEqual(numbers(all.length));
  await file.page.locator("#tab-evidence").click();
  await file.page.waitForFunction(() => document.querySelectorAll(".thumb img").length === 5);
  await shot(file.page, "export-light");
  expect(asked).toEqual([]);
  expect(file.problems).toEqual([]);
  await file.context.close();
});

const PIXEL = PICTURE.slice(PICTURE.indexOf(",") + 1);
const [IMAGE, MARKUP] = ["a".repeat(64), "b".repeat(64)];
const STORED = [
  { eventType: "evidence", kind: "screenshot", hash: IMAGE, contentType: "image/png", caption: "the cart", size: 70 },
  { eventType: "evidence", kind: "html", hash: MARKUP, contentType: "text/html", caption: "the page", size: 40 },
  { eventType: "evidence", kind: "screenshot", hash: "c".repeat(64), contentType: "image/png", caption: "lost" },
];
const SCRIPT = "<script>window.hurt = 11</script>";

test("evidence of the store is fetched with the token, and shown as what it is allowed to be", async () => {
  const session = await create("--start");
  await publish(server, admin, session, STORED);
  const { page, problems, context } = await newPage(browser);
  const asked: string[] = [];
  // The contract's answers: the server under test may have no store of evidence.
  await page.route("**/api/v1/evidence/**", async (route) => {
    const request = route.request();
    asked.push(`${request.headers().authorization === `Bearer ${admin}`} ${new URL(request.url()).searchParams.get("sessionId") === session}`);
    if (request.url().includes(IMAGE)) await route.fulfill({ contentType: "image/png", body: Buffer.from(PIXEL, "base64") });
    else if (request.url().includes(MARKUP)) await route.fulfill({ contentType: "text/html", body: SCRIPT });
    else await route.fulfill({ status: 404, json: { type: "error", data: { code: "not_found", error: "no such evidence", retryable: false } } });
  });
  await page.addInitScript((kept) => sessionStorage.setItem("agentbench.token", kept), admin);
  await page.goto(`${pages.url}/#/sessions/${session}`);
  await reaches(page, 5);
  await page.locator("#tab-evidence").click();
  await page.locator('.thumb img[src^="blob:"]').waitFor();
  await page.getByText("The server has nothing of this name").waitFor();
  await page.locator(".thumb").nth(1).click();
  await page.locator("dialog pre").getByText(SCRIPT).waitFor();
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(() => (document.querySelector<HTMLImageElement>("dialog img")?.naturalWidth ?? 0) > 0);
  expect(new Set(asked)).toEqual(new Set(["true true"]));
  expect(await page.evaluate(() => "hurt" in window)).toBe(false);
  expect(problems).toEqual([]);
  await context.close();
});

test("an exported file has its evidence and its gaps in place", async () => {
  const session = await create("--start");
  await publish(server, admin, session, [...shopRun(), ...STORED]);
  const all = await log(server, admin, session);
  const gap = { id: "g", type: "system_message", timestamp: 0, data: { type: "gap", sessionId: session, fromSeq: 3, toSeq: 7, cause: "retention", history: false } };
  const html = await exportFile(server, admin, session, {
    change: (events) => [...events.slice(0, 2), gap, ...events.slice(7)],
    evidence: { [IMAGE]: { contentType: "image/png", base64: PIXEL }, [MARKUP]: { contentType: "text/html", base64: Buffer.from(SCRIPT).toString("base64") } },
  });
  const path = join(mkdtempSync(join(tmpdir(), "agentbench-export-")), "session.html");
  writeFileSync(path, html);
  const { page, problems, context } = await newPage(browser);
  await page.goto(`file://${path}`);
  await reaches(page, all.length);
  expect(await seqsShown(page)).toEqual(numbers(all.length).filter((seq) => seq < 3 || seq > 7));
  await page.locator(".vlist").evaluate((list) => { list.scrollTop = 0; });
  const rows = page.locator(".vrow .event");
  expect(await rows.nth(2).textContent()).toBe("Events 3–7 are not here: removed by retention");
  await page.locator("#tab-evidence").click();
  await page.locator('.thumb img[src^="blob:"]').waitFor();
  await page.getByText("It is not part of this file").waitFor();
  expect(await page.evaluate(() => "hurt" in window)).toBe(false);
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
  await page.keyboard.press("e");
  await page.locator("dialog.viewer[open]").waitFor();
  await page.keyboard.press("Escape");
  expect(await page.locator("dialog[open]").count()).toBe(0);
  await page.keyboard.press(" ");
  await page.getByRole("button", { name: "Back to live" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Replay" }).waitFor();
  await context.close();
});
