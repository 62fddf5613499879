// The worker: holds the connection, and publishes clicks and screenshots. Chrome may end it at any time; what was accepted into
// the outbox is sent by the next one.
import { indexedDbOutbox, open } from "@agentbench/client";

/** Wakes a new worker while there is something left to send, minutes: the shortest that Chrome allows. */
const WAKE_EVERY = 0.5;
const WAKE = "outbox";

let running = null;

/** The client of this worker's life, made when it is first needed. */
function client() {
  running ??= start();
  return running;
}

async function start() {
  const { url, token } = await chrome.storage.local.get(["url", "token"]);
  if (!url || !token) return null;
  return open({ url, token, outbox: indexedDbOutbox({ name: "recorder" }), keepWorkerAlive: true });
}

/** The next alarm finds out whether it was the last that is needed. */
async function wakeLater() {
  await chrome.alarms.create(WAKE, { periodInMinutes: WAKE_EVERY });
}

async function screenshot(tab) {
  try {
    return await chrome.tabs.captureVisibleTab(tab.windowId, { format: "jpeg", quality: 50 });
  } catch (error) {
    // Not every tab may be captured, and not more often than twice a second.
    return `no screenshot: ${error.message}`;
  }
}

async function record(click, tab) {
  const { session } = await chrome.storage.local.get("session");
  const publisher = await client();
  if (!publisher || !session) return;
  await wakeLater();
  const step = await publisher.enqueue(session, { eventType: "automation_step", step: "click", ...click });
  await publisher.enqueue(session, { eventType: "evidence", kind: "screenshot", of: step.id, image: await screenshot(tab) }, { priority: "low" });
}

// One after the other, so that each screenshot follows its click.
let last = Promise.resolve();

chrome.runtime.onMessage.addListener(({ click }, { tab }, answer) => {
  if (!click || !tab) return false;
  last = last.then(() => record(click, tab)).catch((error) => console.error("not recorded:", error.message));
  // The worker stays until this is answered: then the click is in the outbox.
  last.then(() => answer({}));
  return true;
});

chrome.alarms.onAlarm.addListener(async () => {
  const publisher = await client();
  if (!publisher || publisher.outbox.messages === 0) await chrome.alarms.clear(WAKE);
});

chrome.storage.onChanged.addListener(async (changes) => {
  if (!changes.url && !changes.token) return;
  const former = await running;
  running = null;
  await former?.close();
  await client();
});

// A new worker sends at once what the last one left.
client().catch((error) => console.error("not connected:", error.message));
