/**
 * Makes the pictures of docs/images from the demo: `npm run pictures`. Starts a server of its own with `--demo`, waits until its
 * agents have something to show (about two minutes), and shows it with the pages of this checkout.
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { newPage, startBrowser } from "./support/browser.js";
import { Pages } from "./support/pages.js";
import { RealServer } from "./support/server.js";

const OUT = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
/** Time that the agents are let work, s. */
const WORK = Number(process.env.PICTURES_AFTER ?? 120);
const SIZE = { width: 1280, height: 800 };

interface Listed {
  sessionId: string;
  status: string;
  headSeq: number;
}

test("pictures of the demo", async () => {
  const server = await RealServer.start({}, ["--demo"]);
  const pages = await Pages.start(server);
  const browser = await startBrowser();
  mkdirSync(OUT, { recursive: true });
  try {
    const admin = server.token("--user", "ada", "--username", "Ada", "--role", "admin", "--permission", "session:review");
    const open = async (hash: string, theme: "light" | "dark") => {
      const watched = await newPage(browser, { ...SIZE, theme });
      await watched.page.addInitScript((kept) => sessionStorage.setItem("agentbench.token", kept), admin);
      await watched.page.goto(`${pages.url}/${hash}`);
      return watched;
    };
    const now = await open("#/", "light");
    await now.page.waitForTimeout(WORK * 1000);
    await now.page.screenshot({ path: `${OUT}now.png` });
    await now.context.close();

    const list = await open("#/sessions", "light");
    await list.page.locator("a.row-link").first().waitFor();
    await list.page.screenshot({ path: `${OUT}sessions.png` });
    await list.context.close();

    const answer = await fetch(`${server.url}/api/v1/sessions?limit=50`, { headers: { Authorization: `Bearer ${admin}` } });
    const { sessions } = (await answer.json()) as { sessions: Listed[] };
    const [longest] = sessions.filter(({ status }) => status === "running").sort((a, b) => b.headSeq - a.headSeq);
    expect(longest).toBeDefined();
    const hash = `#/sessions/${longest?.sessionId ?? ""}`;

    const live = await open(hash, "dark");
    await live.page.locator(".watch img").waitFor();
    await live.page.waitForTimeout(500);
    await live.page.screenshot({ path: `${OUT}session.png` });
    await live.context.close();

    const replay = await open(hash, "light");
    await replay.page.locator(".watch img").waitFor();
    await replay.page.keyboard.press(" ");
    await replay.page.getByRole("button", { name: "Back to live" }).waitFor();
    await replay.page.keyboard.press(" ");
    const middle = Math.floor((longest?.headSeq ?? 2) * 0.6);
    await replay.page.locator(".scrubber input").fill(String(middle));
    await replay.page.locator(".watch img").waitFor();
    await replay.page.waitForTimeout(500);
    await replay.page.screenshot({ path: `${OUT}replay.png` });
    await replay.context.close();
  } finally {
    await browser.close();
    pages.stop();
    await server.remove();
  }
}, (WORK + 120) * 1000);
