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
/** When the pictures are taken, s after the start: in the middle of the first runs, and when others have begun. */
const [MIDDLE, LATER] = [85, 140];
const SIZE = { width: 1280, height: 800 };

interface Listed {
  sessionId: string;
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
    const wait = (s: number): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, s * 1000));
    const began = Date.now();
    const until = (s: number): Promise<unknown> => wait(s - (Date.now() - began) / 1000);

    const now = await open("#/", "light");
    const list = await open("#/sessions", "light");
    await wait(10);
    const answer = await fetch(`${server.url}/api/v1/sessions?status=running`, { headers: { Authorization: `Bearer ${admin}` } });
    const { sessions } = (await answer.json()) as { sessions: Listed[] };
    const [longest] = sessions.sort((a, b) => b.headSeq - a.headSeq);
    expect(longest).toBeDefined();
    const live = await open(`#/sessions/${longest?.sessionId ?? ""}`, "dark");
    const replay = await open(`#/sessions/${longest?.sessionId ?? ""}`, "light");

    await until(MIDDLE);
    await live.page.locator(".watch img").waitFor();
    await live.page.screenshot({ path: `${OUT}session.png` });
    await replay.page.getByRole("button", { name: "Replay" }).click();
    await replay.page.getByRole("button", { name: "Back to live" }).waitFor();
    await replay.page.locator(".vlist").focus();
    await replay.page.keyboard.press(" ");
    await replay.page.locator(".scrubber input").fill(await live.page.locator(".session").getAttribute("data-upto").then((seq) => String(Math.floor(Number(seq) * 0.7))));
    await replay.page.locator(".vlist").focus();
    await replay.page.locator(".watch img").waitFor();
    await wait(1);
    await replay.page.screenshot({ path: `${OUT}replay.png` });

    await until(LATER);
    await now.page.screenshot({ path: `${OUT}now.png` });
    await list.page.screenshot({ path: `${OUT}sessions.png` });
  } finally {
    await browser.close();
    pages.stop();
    await server.remove();
  }
}, (LATER + 120) * 1000);
