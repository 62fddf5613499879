/** The time of day for texts such as "5 seconds ago": once a second is often enough. */
import { signal } from "@preact/signals";

/** ms since 1970. */
export const now = signal(Date.now());

/** Lets the clock run. */
export function startClock(): void {
  setInterval(() => {
    if (!document.hidden) now.value = Date.now();
  }, 1000);
}
