/** What events may hold, evidence, and exported files: nothing of it is ever executed. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { expect, test } from "vitest";
import { type Watched, newPage, shot } from "./support/browser.js";
import { numbers, reaches, seqsShown } from "./support/list.js";
import { type Pages, exportFile, serversFile } from "./support/pages.js";
import { PICTURE, PNG, shopRun } from "./support/run.js";
import { create as createIn, open as openIn, scene } from "./support/scene.js";
import { type RealServer, log, publish, store } from "./support/server.js";

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;

scene((made) => ({ server, pages, browser, admin } = made));

const create = (...more: string[]): Promise<string> => createIn({ server }, ...more);

const open = (session: string, token = admin): Promise<Watched> => openIn({ browser, pages }, session, token);

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
  // The file as the server gives it to anybody, with the pages that it was built with.
  writeFileSync(path, await serversFile(server, admin, session));
  await file.page.goto(`file://${path}?own`);
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

const SCRIPT = "<script>window.hurt = 11</script>";

/** Publishes evidence: a picture, markup that calls itself HTML, and a piece that nobody has stored. Gives their hashes. */
async function evidence(session: string): Promise<{ image: string; markup: string }> {
  const image = await store(server, admin, session, PNG, "image/png");
  const markup = await store(server, admin, session, Buffer.from(SCRIPT), "text/plain");
  await publish(server, admin, session, [
    { eventType: "evidence", kind: "screenshot", hash: image, contentType: "image/png", caption: "the cart", size: PNG.length, width: 320, height: 200 },
    { eventType: "evidence", kind: "html", hash: markup, contentType: "text/html", caption: "the page", size: SCRIPT.length },
    { eventType: "evidence", kind: "screenshot", hash: "c".repeat(64), contentType: "image/png", caption: "lost" },
    { eventType: "evidence", kind: "file", hash: "d".repeat(64), contentType: "application/zip", caption: "lost, too" },
  ]);
  return { image, markup };
}

test("evidence of the store is fetched with the token, and shown as what it is allowed to be", async () => {
  const session = await create("--start");
  const { image } = await evidence(session);
  const { page, problems, context } = await newPage(browser);
  const asked: string[] = [];
  page.on("request", (request) => { if (request.url().includes("/evidence/")) asked.push(request.url()); });
  await page.addInitScript((kept) => sessionStorage.setItem("agentbench.token", kept), admin);
  await page.goto(`${pages.url}/#/sessions/${session}`);
  await reaches(page, 6);
  await page.locator("#tab-evidence").click();
  await page.locator('.thumb img[src^="blob:"]').waitFor();
  for (const hash of ["cccccccccccc", "dddddddddddd"]) await page.getByText(`The server does not have this evidence (${hash}…)`).waitFor();
  await page.locator(".thumb").nth(1).click();
  await page.locator("dialog pre").getByText(SCRIPT).waitFor();
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(() => (document.querySelector<HTMLImageElement>("dialog img")?.naturalWidth ?? 0) === 320);
  expect(asked.filter((url) => url.includes(image))).toHaveLength(1);
  expect(asked.filter((url) => url.includes(admin))).toEqual([]);
  expect((await fetch(`${server.url}/api/v1/evidence/${image}?sessionId=${session}`)).status).toBe(401);
  expect(await page.evaluate(() => "hurt" in window)).toBe(false);
  expect(problems).toEqual([]);
  await context.close();
});

test("an exported file has its evidence and its gaps in place", async () => {
  const session = await create("--start");
  await publish(server, admin, session, shopRun());
  await evidence(session);
  const all = await log(server, admin, session);
  const gap = { id: "g", type: "system_message", timestamp: 0, data: { type: "gap", sessionId: session, fromSeq: 3, toSeq: 7, cause: "retention", history: false } };
  // The server's own data; only the gap is made up, since retention takes whole sessions.
  const html = await exportFile(server, admin, session, (data) => ({ ...data, events: [...data.events.slice(0, 2), gap, ...data.events.slice(7)] }));
  const path = join(mkdtempSync(join(tmpdir(), "agentbench-export-")), "session.html");
  writeFileSync(path, html);
  const { page, problems, context } = await newPage(browser);
  await page.goto(`file://${path}`);
  await reaches(page, all.length);
  expect(await seqsShown(page)).toEqual(numbers(all.length).filter((seq) => seq < 3 || seq > 7));
  await page.locator(".vlist").evaluate((list) => { list.scrollTop = 0; });
  const rows = page.locator(".vrow .event");
  await rows.nth(2).getByText("Events 3–7 are not here: removed by retention").waitFor();
  await page.locator("#tab-evidence").click();
  await page.locator('.thumb img[src^="blob:"]').waitFor();
  await page.getByText("It is not part of this file").first().waitFor();
  expect(await page.evaluate(() => "hurt" in window)).toBe(false);
  expect(problems).toEqual([]);
  await context.close();
});
