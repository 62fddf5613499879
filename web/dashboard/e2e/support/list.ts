/** What the tests of one session share: how far the page is, and what its list shows. */
import type { Page } from "playwright-core";
import { seqsDrawn } from "./browser.js";

/** Waits until the page has come as far as a seq. */
export async function reaches(page: Page, seq: number): Promise<void> {
  await page.waitForFunction((wanted) => Number(document.querySelector(".session")?.getAttribute("data-upto")) >= wanted, seq, { timeout: 60_000 });
}

/** Waits until all that is in sight is drawn and loaded. */
async function drawn(page: Page): Promise<void> {
  await page.waitForFunction(() => {
    const box = document.querySelector(".vlist")?.getBoundingClientRect();
    const rows = [...document.querySelectorAll(".vrow")];
    const [first, last] = [rows[0], rows.at(-1)];
    if (!box || !first || !last || document.querySelector(".event.waiting")) return false;
    const isLast = last.getAttribute("aria-posinset") === last.getAttribute("aria-setsize");
    return first.getBoundingClientRect().top <= box.top + 1 && (isLast || last.getBoundingClientRect().bottom >= box.bottom - 1);
  });
}

/** Every seq that the list shows, read by scrolling through all of it. */
export async function seqsShown(page: Page): Promise<number[]> {
  const found: number[] = [];
  await page.locator(".vlist").evaluate((list) => { list.scrollTop = 0; });
  for (let step = 0; step < 500; step += 1) {
    await drawn(page);
    found.push(...(await seqsDrawn(page)).filter((seq) => seq > (found.at(-1) ?? 0)));
    const isEnd = await page.locator(".vlist").evaluate((list) => {
      const before = list.scrollTop;
      list.scrollTop += 400;
      return list.scrollTop === before;
    });
    if (isEnd) return found;
  }
  throw new Error("the list has no end");
}

/** 1 to `last`. */
export const numbers = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);
