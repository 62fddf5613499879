// The worker: holds the connection, and publishes clicks, each with a screenshot. Chrome may end it at any time, so all that it has
// accepted lies in IndexedDB, and the next worker goes on from there:
//
//   click ──────► outbox ─► session
//   screenshot ─► waiting ─► uploaded by its hash ─► outbox ─► session
//
// Each step is done before what it came from is removed, and harmless when it is done again: the server takes a picture once by its
// hash, and an event once by its id.
import { indexedDbOutbox, open } from "@agentbench/client";
import { uploadEvidence } from "@agentbench/client/evidence";
import * as waiting from "./waiting.js";

/** Wakes a new worker while there is something left to send, minutes: the shortest that Chrome allows. */
const WAKE_EVERY = 0.5;
const WAKE = "outbox";
/** Screenshots that wait for the server at most, 100 kB each or so: later clicks are published without one. */
const MOST_WAITING = 500;

let running = null;

/** The client of this worker's life, made when it is first needed. */
function client() {
  running ??= start();
  return running;
}

async function start() {
  const { url, token } = await chrome.storage.local.get(["url", "token"]);
  if (!url || !token) return null;
  return open({
    url,
    token,
    outbox: indexedDbOutbox({ name: "recorder" }),
    keepWorkerAlive: true,
    // The server is there again: pictures need not wait for the alarm.
    onEvent: ({ type }) => type === "connected" && upload(),
  });
}

/** The next alarm finds out whether it was the last that is needed. */
async function wakeLater() {
  await chrome.alarms.create(WAKE, { periodInMinutes: WAKE_EVERY });
}

/** A picture, or why there is none. */
async function screenshot(tab) {
  try {
    if ((await waiting.count()) >= MOST_WAITING) throw new Error("too many wait for the server");
    const address = await chrome.tabs.captureVisibleTab(tab.windowId, { format: "jpeg", quality: 50 });
    return { picture: await (await fetch(address)).blob() };
  } catch (error) {
    // Not every tab may be captured, and not more often than twice a second.
    return { caption: `no screenshot: ${error.message}` };
  }
}

async function record(click, tab) {
  const { session } = await chrome.storage.local.get("session");
  const publisher = await client();
  if (!publisher || !session) return;
  await wakeLater();
  // Both at once: the picture is to show what was clicked at.
  const [step, { picture, caption }] = await Promise.all([
    publisher.enqueue(session, { eventType: "automation_step", step: "click", ...click }),
    screenshot(tab),
  ]);
  // The id is chosen here, so that every worker that comes to publish this uses the same.
  await waiting.keep({ id: `${step.id}-screenshot`, session, data: { eventType: "evidence", kind: "screenshot", of: step.id, caption }, picture });
  upload();
}

// One run after the other; the last one sees what came during those before.
let uploads = Promise.resolve();

function upload() {
  uploads = uploads.then(uploadAll).catch((error) => console.error("not uploaded:", error.message));
}

async function uploadAll() {
  const publisher = await client();
  if (!publisher) return;
  const { url, token } = await chrome.storage.local.get(["url", "token"]);
  for (const { key, id, session, data, picture } of await waiting.all()) {
    try {
      const file = picture && (await uploadEvidence(picture, { url, token, sessionId: session }).catch(refusedForGood));
      // The event last: whoever sees it can see the picture.
      await publisher.enqueue(session, { ...data, ...file }, { id, priority: "low" });
      await waiting.remove(key);
    } catch (error) {
      console.error("not uploaded yet:", error.message);
      // The next connection or alarm tries again. Without a server the others would only wait for it, too.
      if (error.retryable) return;
    }
  }
}

/** A picture that the server will never take leaves an event that says why. All else may pass, or need a new token: the picture waits. */
function refusedForGood(error) {
  if (error.kind !== "refused" || error.retryable || error.refusal.code === "not_authenticated") throw error;
  return { caption: `no screenshot: ${error.message}` };
}

// One after the other, so that each screenshot follows its click.
let last = Promise.resolve();

chrome.runtime.onMessage.addListener(({ click }, { tab }, answer) => {
  if (!click || !tab) return false;
  last = last.then(() => record(click, tab)).catch((error) => console.error("not recorded:", error.message));
  // The worker stays until this is answered: then the click is in the outbox, and its picture waits beside it.
  last.then(() => answer({}));
  return true;
});

chrome.alarms.onAlarm.addListener(async () => {
  const publisher = await client();
  const isDone = !publisher || (publisher.outbox.messages === 0 && (await waiting.count()) === 0);
  if (isDone) await chrome.alarms.clear(WAKE);
  else upload();
});

chrome.storage.onChanged.addListener(async (changes) => {
  if (!changes.url && !changes.token) return;
  // What could not be used before may be mended now.
  const former = await running?.catch(() => null);
  running = null;
  await former?.close();
  await client();
});

// A new worker goes on at once with what the last one left.
client().then(upload, (error) => console.error("not connected:", error.message));
