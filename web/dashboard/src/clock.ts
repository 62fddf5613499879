/**
 * The server's time. Whatever comes from the server (times of events, ends of tokens) is held against this clock alone: the
 * page's own may be hours off. Each answer's `Date` says what the server's clock was to a second; many narrow it down.
 */
import { computed, signal } from "@preact/signals";
import { addressOf } from "./address.js";

/** What a `Date` leaves open, ms: it has whole seconds, rounded down. */
const RESOLUTION = 1000;
/** A step between the page's clocks from which one of them was set, or the machine slept, ms. */
const JUMP = 1000;
/** Time between two questions for the time, ms: clocks run apart slowly. */
const EVERY = 60_000;

/** How far the server's clock is ahead of the page's, from what the server says. */
export class ServerClock {
  #least = -Infinity;
  #most = Infinity;

  /** Ahead by so many ms; `null` before anything was learned. */
  get offset(): number | null {
    return this.#least === -Infinity ? null : (this.#least + this.#most) / 2;
  }

  /** Learns from an answer's `Date`, with the page's time of the question and of the answer, ms since 1970. */
  take(date: string | null, asked: number, answered: number): void {
    const said = date === null ? NaN : Date.parse(date);
    if (Number.isNaN(said) || answered < asked) return;
    const [least, most] = [said - answered, said + RESOLUTION - asked];
    // What contradicts earlier answers tells that a clock was set: earlier ones count no more.
    const isNew = least > this.#most || most < this.#least;
    [this.#least, this.#most] = isNew ? [least, most] : [Math.max(least, this.#least), Math.min(most, this.#most)];
  }

  /** Earlier answers count no more. */
  forget(): void {
    [this.#least, this.#most] = [-Infinity, Infinity];
  }
}

const clock = new ServerClock();
/** How far the server is ahead of this page, ms; `null` as long as that is not known. */
const offset = signal<number | null>(null);
const tick = signal(Date.now());

/** The server's time for texts such as "5 seconds ago", ms since 1970: once a second is often enough. The page's own until the server's is known. */
export const now = computed(() => tick.value + (offset.value ?? 0));

/** The server's time at this moment, ms since 1970; `null` as long as it is not known. Tells what reads it of what is learned. */
export function serverTime(): number | null {
  return offset.value === null ? null : Date.now() + offset.value;
}

/** Learns from an answer that no cache gave. */
export function learn(response: Response, asked: number): void {
  clock.take(response.headers.get("date"), asked, Date.now());
  const learned = clock.offset;
  if (learned === null) return;
  // Small corrections would only make texts flicker.
  if (offset.value === null || Math.abs(offset.value - learned) > 20) offset.value = learned;
}

async function ask(): Promise<void> {
  const asked = Date.now();
  try {
    learn(await fetch(addressOf("healthz"), { method: "HEAD", cache: "no-store" }), asked);
  } catch {
    // Without the server there is nothing to hold against its clock; other answers tell the time, too.
  }
}

/** Lets the clock run. */
export function startClock(): void {
  void ask();
  let [apart, askedAt] = [Date.now() - performance.now(), performance.now()];
  setInterval(() => {
    if (document.hidden) return;
    tick.value = Date.now();
    const isSet = Math.abs(Date.now() - performance.now() - apart) > JUMP;
    if (isSet) clock.forget();
    if (!isSet && performance.now() - askedAt < EVERY) return;
    [apart, askedAt] = [Date.now() - performance.now(), performance.now()];
    void ask();
  }, 1000);
}
