/** Every view in both themes: it is shown, accessible, has no error, and fits a narrow screen. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newPage, shot, startBrowser } from "./support/browser.js";
import { Pages } from "./support/pages.js";
import { shopRun } from "./support/run.js";
import { RealServer, publish } from "./support/server.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let server: RealServer;
let pages: Pages;
let browser: Browser;
let admin: string;
let viewer: string;
let session: string;

beforeAll(async () => {
  server = await RealServer.start();
  pages = await Pages.start(server);
  browser = await startBrowser();
  admin = server.token("--user", "ada", "--username", "Ada", "--role", "admin", "--permission", "session:review");
  viewer = server.token("--user", "vic", "--role", "viewer", "--project", "demo");
  session = await server.sessions(["create", "--project", "demo", "--test", "checkout", "--agent", "Shop agent", "--start"]);
  
  await publish(server, admin, session, shopRun());
  await publish(server, admin, session, [
    { eventType: "review_note", text: "The address form was filled in with care.", at: 20 },
    { eventType: "review_score", criterion: "Goal reached", score: 0.5, comment: "stopped at the payment" },
  ]);
});

afterAll(async () => {
  await browser.close();
  pages.stop();
  await server.remove();
});

interface Finding {
  id: string;
  impact: string | null;
  nodes: { html: string; failureSummary?: string }[];
}

/** Serious and critical findings of axe-core. The rules come through the debugger, which the page's policy does not stop. */
async function findings(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
  return (found as { violations: Finding[] }).violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary ?? ""}`).join(" | ").slice(0, 1500)}`);
}

const isWide = (page: Page): Promise<boolean> => page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

interface View {
  name: string;
  token: () => string | null;
  hash: () => string;
  ready: (page: Page) => Promise<unknown>;
}

const VIEWS: View[] = [
  { name: "sign-in", token: () => null, hash: () => "", ready: (page) => page.getByLabel("Token").waitFor() },
  { name: "now", token: () => admin, hash: () => "#/", ready: async (page) => {
    await page.getByText("Events per second").first().waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".plot canvas").length >= 5);
    await page.waitForTimeout(3500);
  } },
  { name: "now-viewer", token: () => viewer, hash: () => "#/", ready: (page) => page.getByText("Your role sees sessions").waitFor() },
  { name: "sessions", token: () => admin, hash: () => "#/sessions", ready: (page) => page.locator("a.row-link").first().waitFor() },
  { name: "session-details", token: () => admin, hash: () => `#/sessions/${session}`, ready: async (page) => {
    await page.locator("[data-seq]").first().waitFor();
    await page.keyboard.press("k");
  } },
  ...(["steps", "evidence", "scores", "people"] as const).map((tab): View => ({
    name: `session-${tab}`, token: () => admin, hash: () => `#/sessions/${session}`, ready: async (page) => {
      await page.locator("[data-seq]").first().waitFor();
      await page.locator(`#tab-${tab}`).click();
      await page.waitForTimeout(300);
    },
  })),
  { name: "session-replay", token: () => viewer, hash: () => `#/sessions/${session}`, ready: async (page) => {
    await page.locator("[data-seq]").first().waitFor();
    await page.keyboard.press("Home");
    await page.keyboard.press("n");
    await page.getByRole("button", { name: "Replay" }).click();
    await page.locator(".vlist").focus();
    await page.keyboard.press("ArrowLeft");
    await page.getByRole("button", { name: "Back to live" }).waitFor();
  } },
  { name: "evidence-viewer", token: () => admin, hash: () => `#/sessions/${session}`, ready: async (page) => {
    await page.locator("[data-seq]").first().waitFor();
    await page.keyboard.press("e");
    await page.locator("dialog[open] img").waitFor();
  } },
];

describe.each(["light", "dark"] as const)("in the %s theme", (theme) => {
  test.each(VIEWS)("$name", async ({ name, token, hash, ready }) => {
    const { page, context, problems } = await newPage(browser, { theme });
    const given = token();
    if (given !== null) await page.addInitScript((kept) => sessionStorage.setItem("agentbench.token", kept), given);
    await page.goto(`${pages.url}/${hash()}`);
    await ready(page);
    await shot(page, `${name}-${theme}`);
    expect(await findings(page)).toEqual([]);
    expect(await isWide(page)).toBe(false);
    await page.setViewportSize({ width: 360, height: 740 });
    await page.waitForTimeout(200);
    await shot(page, `${name}-${theme}-360`);
    expect(await isWide(page)).toBe(false);
    expect(problems).toEqual([]);
    await context.close();
  });
});

test("the check of accessibility finds what is wrong", async () => {
  const { page, context } = await newPage(browser);
  await page.goto(pages.url);
  await page.getByLabel("Token").waitFor();
  await page.evaluate(() => document.querySelector("main")?.append(document.createElement("img"), document.createElement("input")));
  expect((await findings(page)).map((finding) => finding.split(":")[0])).toEqual(["image-alt", "label"]);
  await context.close();
});

const CONTRACT_STATS = {
  connectedClients: 42, activeSessions: 7, totalMessages: 120_000, messagesPerSecond: 812.5, averageLatency: 1.9, errorRate: 0.002,
  memoryUsage: { rss: 212e6, heapTotal: 1e9, heapUsed: 120e6 }, published: { p50Ms: 0.6, p99Ms: 4.2, count: 8120 }, delivered: { p50Ms: 1.2, p99Ms: 9.7, count: 60_000 },
  connectionsByKind: { websocket: 40, stream: 2 }, sessionsByState: { idle: 2, running: 4, paused: 1, completed: 19, error: 3, expired: 0 }, cpu: 0.83,
  fileDescriptors: { used: 97, limit: 65_536 }, disk: { usedBytes: 1.4e9, freeBytes: 88e9 }, queues: [{ name: "letters", depth: 3, bound: 4096 }],
  slowestReaders: [{ clientId: "c1", userId: "slow-reader", sessionId: "a59af6ea-fee6-818e-806a-277ed441945f", behind: 1234 }], stalledSessions: 1,
  alerts: [
    { name: "DiskNearlyFull", severity: "critical", state: "firing", since: Date.now() - 90_000, value: 0.96, threshold: 0.95, summary: "The data folder's disk is nearly full" },
    { name: "SlowReaders", severity: "warning", state: "firing", since: Date.now() - 5000, value: 1234, threshold: 1000, summary: "Readers are far behind" },
  ],
  uptimeMs: 4_000_000, version: "0.1.0", node: "n1",
};

test.each(["light", "dark"] as const)("a server that tells all of itself, in the %s theme", async (theme) => {
  const { page, context, problems } = await newPage(browser, { theme });
  // The contract's answer, which the server under test may not give in full.
  await page.route("**/api/v1/stats", (route) => route.fulfill({ json: CONTRACT_STATS }));
  await page.addInitScript((kept) => sessionStorage.setItem("agentbench.token", kept), admin);
  await page.goto(`${pages.url}/#/`);
  await page.getByText("slow-reader").waitFor();
  await page.getByText("The data folder's disk is nearly full").waitFor();
  await page.waitForFunction(() => document.querySelectorAll(".plot canvas").length === 8);
  await page.waitForTimeout(2500);
  await shot(page, `now-full-${theme}`);
  expect(await findings(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await isWide(page)).toBe(false);
  expect(problems).toEqual([]);
  await context.close();
});

test("the browser's language is chosen, and can be changed", async () => {
  const { page, context } = await newPage(browser, { language: "zh-CN" });
  await page.goto(pages.url);
  await page.getByRole("button", { name: "登录" }).waitFor();
  await page.getByLabel("语言").selectOption("en");
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await context.close();
});
