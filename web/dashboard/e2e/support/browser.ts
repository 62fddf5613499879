/** A Chromium, and a page that writes down everything that should not happen. */
import { existsSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";

const PATH = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
const SHOTS = fileURLToPath(new URL("../../screenshots-out/", import.meta.url));

export function startBrowser(): Promise<Browser> {
  if (!existsSync(PATH)) throw new Error(`no Chromium at ${PATH}: apt-get install chromium, or set CHROMIUM_PATH`);
  return chromium.launch({ executablePath: PATH, args: ["--no-sandbox", "--disable-gpu"] });
}

/** A page, and what went wrong on it. */
export interface Watched {
  context: BrowserContext;
  page: Page;
  /** Errors of the console, of scripts, and of the policy. Failed requests are told by the pages themselves, and left out. */
  problems: string[];
}

export interface Wishes {
  width?: number;
  height?: number;
  theme?: "light" | "dark";
  language?: string;
}

export async function newPage(browser: Browser, wishes: Wishes = {}): Promise<Watched> {
  const { width = 1440, height = 900, theme = "light", language = "en-GB" } = wishes;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, locale: language, acceptDownloads: true, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  page.on("console", (message) => {
    const isNetwork = /Failed to load resource|WebSocket connection to/.test(message.text());
    if (message.type() === "error" && !isNetwork) problems.push(`console: ${message.text()}`);
  });
  return { context, page, problems };
}

/**
 * Lets all pages of a browser sleep: their processes stand still, while their connections live on in the browser's own process.
 * (The debugger's `Page.setWebLifecycleState` does nothing to a page that counts as seen, and without a screen all do.) Gives a
 * function that wakes them.
 */
export async function sleep(browser: Browser): Promise<() => void> {
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  const renderers = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  if (renderers.length === 0) throw new Error("the browser names no process of its pages");
  for (const id of renderers) process.kill(id, "SIGSTOP");
  return () => {
    for (const id of renderers) process.kill(id, "SIGCONT");
  };
}

/** Writes a picture of the page. */
export async function shot(page: Page, name: string): Promise<void> {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}${name}.png` });
}

/** The seqs of the rows that are drawn. */
export function seqsDrawn(page: Page): Promise<number[]> {
  return page.locator("[data-seq]").evaluateAll((rows) => rows.map((row) => Number(row.getAttribute("data-seq"))));
}
