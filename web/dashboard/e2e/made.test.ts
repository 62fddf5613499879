/** What the pages show of a session, whatever it holds: at each width, by keyboard, in each language. Needs no server. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { shot, startBrowser } from "./support/browser.js";
import { type Made, openMade } from "./support/made.js";
import { shopRun } from "./support/run.js";

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser.close());

const WIDTHS = [360, 768, 1440, 1920];
const run = (): Made[] => shopRun().map((data) => ({ data }));

/** What has the focus. */
const focused = (page: Page): Promise<{ id: string; role: string | null; isSeen: boolean }> => page.evaluate(() => {
  const element = document.activeElement ?? document.body;
  return { id: element.id, role: element.getAttribute("role"), isSeen: element.getClientRects().length > 0 };
});

describe.each(WIDTHS)("at %i px", (width) => {
  test("Tab comes to the tabs and to their panel, and the arrows go through all tabs that are seen", async () => {
    const { page, problems, context } = await openMade(browser, run(), { width });
    const met: string[] = [];
    for (let presses = 0; presses < 80; presses += 1) {
      await page.keyboard.press("Tab");
      const { id, role, isSeen } = await focused(page);
      if (id === "") continue;
      expect(isSeen).toBe(true);
      met.push(role === "tab" ? "a tab" : id);
      if (role !== "tab" || met.filter((one) => one === "a tab").length > 1) continue;
      const seen = await page.locator('[role="tab"]:visible').evaluateAll((tabs) => tabs.map((tab) => tab.id));
      const visited: string[] = [];
      while (visited.length < seen.length) {
        visited.push((await focused(page)).id);
        await page.locator(`#${visited.at(-1) ?? ""}[aria-selected="true"]`).waitFor();
        expect(await page.locator("#panel").getAttribute("aria-labelledby")).toBe(visited.at(-1));
        await page.keyboard.press("ArrowRight");
      }
      expect(visited.sort()).toEqual(seen.sort());
      expect(seen).toHaveLength(width <= 960 ? 6 : 5);
      // Away from the time line, so that the panel is seen at every width.
      await page.keyboard.press("ArrowLeft");
    }
    expect(met).toContain("a tab");
    expect(met).toContain("panel");
    expect(await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)).toBe(false);
    expect(problems).toEqual([]);
    await context.close();
  });
});

test("a window that is made narrow or wide keeps a tab that is seen", async () => {
  const { page, context } = await openMade(browser, run(), { width: 1440 });
  for (const width of [1440, 768, 1440, 360, 1920]) {
    await page.setViewportSize({ width, height: 900 });
    const chosen = page.locator('[role="tab"][aria-selected="true"]');
    await page.waitForFunction((is) => (document.querySelector('[role="tab"][aria-selected="true"]')?.id === "tab-timeline") === is, width <= 960);
    expect([await chosen.count(), await chosen.isVisible(), await chosen.getAttribute("tabindex")]).toEqual([1, true, "0"]);
  }
  await context.close();
});

test("a search marks the chosen event alone", async () => {
  const { page, context } = await openMade(browser, run());
  const marked = (): Promise<(string | null)[]> => page.locator('.vrow[aria-selected="true"] [data-seq]').evaluateAll((rows) => rows.map((row) => row.getAttribute("data-seq")));
  await page.locator(".vlist").focus();
  await page.keyboard.press("Home");
  for (let step = 0; step < 4; step += 1) await page.keyboard.press("j");
  expect(await marked()).toEqual(["5"]);
  await page.getByLabel("Search in events").fill("is ready");
  await page.waitForFunction(() => document.querySelectorAll(".vrow").length === 5);
  expect(await marked()).toEqual([]);
  await page.getByLabel("Search in events").fill("");
  await page.waitForFunction(() => document.querySelectorAll(".vrow").length > 5);
  expect(await marked()).toEqual(["5"]);
  await context.close();
});

describe.each([1, 2, 3])("a plot of %i readings", (count) => {
  test("has each label of its axes once", async () => {
    const made = Array.from({ length: count }, (_, at): Made => ({ data: { eventType: "score_update", criterion: "care", score: 0.5 + at / 10 }, user: "judge" }));
    const { page, problems, context } = await openMade(browser, made);
    await page.evaluate(() => {
      const drawn: string[] = [];
      Object.assign(window, { drawn });
      // eslint-disable-next-line @typescript-eslint/unbound-method -- called on the canvas that they are asked of
      const { fillText: draw, clearRect: clear } = CanvasRenderingContext2D.prototype;
      // Each drawing begins with an empty canvas.
      CanvasRenderingContext2D.prototype.clearRect = function clearRect(...place: [number, number, number, number]) {
        drawn.length = 0;
        clear.call(this, ...place);
      };
      CanvasRenderingContext2D.prototype.fillText = function fillText(text: string, ...place: [number, number]) {
        drawn.push(text);
        draw.call(this, text, ...place);
      };
    });
    await page.locator("#tab-scores").click();
    await page.waitForFunction(() => (window as unknown as { drawn: string[] }).drawn.length > 2);
    const drawn = (await page.evaluate(() => (window as unknown as { drawn: string[] }).drawn)).filter((text) => text !== "");
    expect(drawn.length).toBeGreaterThan(2);
    expect([...new Set(drawn)]).toEqual(drawn);
    await shot(page, `plot-of-${count}`);
    expect(problems).toEqual([]);
    await context.close();
  });
});

test("scores of two authors on two scales stand apart", async () => {
  const { page, problems, context } = await openMade(browser, [
    { data: { eventType: "score_update", criterion: "care", score: 0.88 }, user: "judge" },
    { data: { eventType: "review_score", criterion: "care", score: 3, max: 5 }, user: "rita" },
    { data: { eventType: "score_update", criterion: "care", score: 0.86 }, user: "judge" },
  ]);
  await page.locator("#tab-scores").click();
  await page.locator(".newest li").first().waitFor();
  expect(await page.locator(".newest li").allTextContents()).toEqual(["care by judge0.86 of 1.00", "care by rita3.00 of 5.00"]);
  expect(await page.locator(".panel .plot").count()).toBe(2);
  expect(await page.locator(".u-legend .u-series:not(:first-child) .u-label").allTextContents()).toEqual(["care (judge)", "care (rita)"]);
  await shot(page, "scores-apart");
  expect(problems).toEqual([]);
  await context.close();
});

test("what cannot be read is shown as it is, with a mark, wherever it stands", async () => {
  const { page, problems, context } = await openMade(browser, [
    { data: { eventType: "automation_step", stepId: "a", name: "Pay", status: "error" } },
    { data: { eventType: "score_update", criterion: "care", score: "0.9" } },
    { data: { eventType: "score_update", criterion: "honesty", score: "NaN" } },
    { data: { eventType: "evidence", kind: "file", hash: "0f", caption: "nothing" } },
    { data: { eventType: "evidence", kind: "file", hash: "c".repeat(64), contentType: "application/zip", caption: "never uploaded" } },
    { data: { eventType: "progress", percent: "50 %" } },
  ]);
  const row = (seq: number) => page.locator(`[data-seq="${seq}"]`);
  await row(2).getByText('score is not a number: "0.9"').waitFor();
  await row(3).getByText('score is not a number: "NaN"').waitFor();
  await row(4).getByText('hash is not a hash of 64 digits: "0f"').waitFor();
  await row(6).getByText('percent is not a number from 0 to 100: "50 %"').waitFor();
  await page.locator(".session-head .unreadable").getByText('"50 %"').waitFor();
  await row(2).click();
  await page.getByLabel("Fields that cannot be read").getByText('score is not a number: "0.9"').waitFor();
  await page.locator("#tab-steps").click();
  await page.locator(".steps .badge.tone-muted").getByText("error").waitFor();
  await page.getByText("0 of 1 done · 1 without a known status").waitFor();
  await page.locator("#tab-scores").click();
  expect(await page.locator(".newest .unreadable bdi").allTextContents()).toEqual(['"0.9"', '"NaN"']);
  expect(await page.locator(".panel .plot").count()).toBe(0);
  await page.locator("#tab-evidence").click();
  await page.getByText('The event names no evidence that can be loaded: "0f"').waitFor();
  await page.getByText("It is not part of this file").waitFor();
  await shot(page, "unreadable");
  expect(problems).toEqual([]);
  await context.close();
});

test("durations are in the page's language", async () => {
  const { page, context } = await openMade(browser, [{ data: { eventType: "automation_step", stepId: "a", name: "付款", status: "passed", durationMs: 4130 } }], { language: "zh-CN" });
  await page.locator(".facts").getByText("2 分 5 秒").waitFor();
  await page.locator("#tab-steps").click();
  await page.locator(".step-time").getByText("4.1 秒").waitFor();
  await context.close();
});
