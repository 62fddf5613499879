/** Sessions that no server has had, as exported files: for what the pages show of a session, whatever it holds. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { type Watched, type Wishes, newPage } from "./browser.js";
import { fileOf } from "./pages.js";

/** When the first event was taken, ms since 1970; each that follows a second later. */
const BEGAN = 1_790_000_000_000;

/** An event, and who sent it. */
export interface Made {
  data: Record<string, unknown>;
  user?: string;
}

/** Opens a file with these events. */
export async function openMade(browser: Browser, made: readonly Made[], wishes: Wishes = {}): Promise<Watched> {
  const events = made.map(({ data, user = "agent" }, index) => ({
    id: `e${index + 1}`, type: "test_event", timestamp: BEGAN + index * 1000, receivedAt: BEGAN + index * 1000, seq: index + 1, data,
    sender: { clientId: "c", userId: user, username: user, role: "evaluator" },
  }));
  const session = {
    sessionId: "00000000-0000-8000-8000-000000000001", projectId: "demo", testId: "made", agentName: "Maker", status: "completed", epoch: "e", headSeq: events.length,
    createdAt: BEGAN, createdBy: "ada", startedAt: BEGAN, endedAt: BEGAN + 125_000,
  };
  const path = join(mkdtempSync(join(tmpdir(), "agentbench-made-")), "session.html");
  writeFileSync(path, fileOf({ version: 1, exportedAt: BEGAN + 200_000, session, events, evidence: {} } as never));
  const watched = await newPage(browser, wishes);
  await watched.page.goto(`file://${path}`);
  await watched.page.locator("[data-seq]").first().waitFor();
  return watched;
}
