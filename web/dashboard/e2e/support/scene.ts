/** What most tests begin with: a server, its pages, a browser, and somebody who may do everything. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { type Watched, newPage, startBrowser } from "./browser.js";
import { Pages } from "./pages.js";
import { RealServer } from "./server.js";

export interface Scene {
  server: RealServer;
  pages: Pages;
  browser: Browser;
  /** A token of an administrator who also reviews. */
  admin: string;
}

/** Sets the scene before the tests of a file, and clears it after them. */
export function scene(ready: (scene: Scene) => void): void {
  let made: Scene | null = null;
  beforeAll(async () => {
    const server = await RealServer.start();
    const admin = server.token("--user", "ada", "--username", "Ada", "--role", "admin", "--permission", "session:review");
    made = { server, pages: await Pages.start(server), browser: await startBrowser(), admin };
    ready(made);
  });
  afterAll(async () => {
    await made?.browser.close();
    made?.pages.stop();
    await made?.server.remove();
  });
}

/** Makes a session that is not started. */
export function create({ server }: Pick<Scene, "server">, ...more: string[]): Promise<string> {
  return server.sessions(["create", "--project", "demo", "--agent", "Tester", "--test", "e2e", ...more]);
}

/** Signs in and opens a session. */
export async function open({ browser, pages }: Pick<Scene, "browser" | "pages">, session: string, token: string): Promise<Watched> {
  const watched = await newPage(browser);
  await watched.page.goto(`${pages.url}/#token=${token}`);
  await watched.page.waitForFunction(() => !location.hash.includes("token"));
  await watched.page.goto(`${pages.url}/#/sessions/${session}`);
  await watched.page.getByRole("listbox").waitFor();
  return watched;
}
