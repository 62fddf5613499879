/** The suite's report.html: no column is cut off, on screens from 800 px on and on paper. The binary under test makes it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newPage, shot, startBrowser } from "./support/browser.js";
import { findBinary } from "./support/server.js";

let browser: Browser;
let folder: string;
let report: string;

beforeAll(async () => {
  browser = await startBrowser();
  folder = mkdtempSync(join(tmpdir(), "agentbench-report-"));
  // On a busy machine its figures do not count; its page is the same.
  execFileSync(findBinary(), ["suite", "run", "Small Load Test", "--quick"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const results = join(folder, "test-results");
  report = join(results, readdirSync(results)[0] ?? "", "report.html");
});

afterAll(async () => {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
});

const LONG = `the generator could not keep its schedule: one event in a hundred was 148ms late or more; ${"a word without any blank ".replaceAll(" ", "-").repeat(8)}`;

/** Gives the first scenario a long reason, in the place where the page has reasons. */
async function giveReason(page: Page): Promise<void> {
  await page.evaluate((text) => {
    const row = document.querySelector("#scenarios tbody tr");
    const columns = document.querySelectorAll("#scenarios thead th").length;
    row?.classList.add("has-why");
    document.querySelectorAll("#scenarios tr.why").forEach((old) => { old.remove(); });
    const [why, cell] = [document.createElement("tr"), document.createElement("td")];
    why.className = "why";
    cell.colSpan = columns;
    cell.textContent = text;
    why.append(cell);
    row?.after(why);
  }, LONG);
}

/** What is wider than its place. */
const cut = (page: Page): Promise<string[]> => page.evaluate(() => {
  const width = document.documentElement.clientWidth;
  const boxes = [...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.getAttribute("aria-label") ?? "a table");
  const cells = [...document.querySelectorAll("td, th")].filter((cell) => cell.getBoundingClientRect().right > width + 1 || cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.textContent);
  return [...boxes, ...cells];
});

/** Widths of screens, and of what an A4 page has between margins of 15 mm, px. */
const PAPER = 680;

test.each([800, 1024, 1280, 1440, 1920, PAPER])("at %i px every column is seen whole", async (width) => {
  const { page, problems, context } = await newPage(browser, { width });
  if (width === PAPER) await page.emulateMedia({ media: "print" });
  await page.goto(`file://${report}`);
  await page.locator("#scenarios table").waitFor();
  expect(await page.locator("#scenarios thead th").count()).toBeGreaterThan(5);
  await giveReason(page);
  expect(await cut(page)).toEqual([]);
  await shot(page, `report-${width}`);
  expect(problems).toEqual([]);
  await context.close();
});
