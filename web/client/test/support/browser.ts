/** A Chromium with a profile of its own. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { type BrowserContext, type Page, chromium } from "playwright-core";

const PATH = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";

/** Starts one on a folder, with an extension if there is one. */
export async function startBrowser(profile: string, extension?: string): Promise<BrowserContext> {
  if (!existsSync(PATH)) throw new Error(`no Chromium at ${PATH}: apt-get install chromium, or set CHROMIUM_PATH`);
  const extensions = extension === undefined ? [] : [
    `--disable-extensions-except=${extension}`, `--load-extension=${extension}`, "--disable-features=DisableLoadExtensionCommandLineSwitch",
  ];
  return chromium.launchPersistentContext(profile, {
    executablePath: PATH,
    headless: false,
    args: ["--headless=new", "--no-sandbox", "--disable-gpu", ...extensions],
    ignoreDefaultArgs: ["--disable-extensions"],
  });
}

/** Kills the browser of a profile as a crash would. */
export function killBrowser(profile: string): void {
  const lines = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" }).split("\n");
  // Only the browser itself: its other processes end with it.
  const own = lines.filter((line) => line.includes(`--user-data-dir=${profile}`) && !line.includes("--type="));
  for (const line of own) process.kill(Number.parseInt(line, 10), "SIGKILL");
}

/** A page of the package's own server with the SDK in `window.sdk`. */
export async function sdkPage(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${url}/test/support/blank.html`);
  await page.waitForFunction(() => "sdk" in window);
  return page;
}
