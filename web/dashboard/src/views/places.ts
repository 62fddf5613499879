/**
 * Where a reader was in a session: who comes back, from another view or with a new token, goes on there. Kept in the page's
 * memory, for the user who was there.
 */
import { effect } from "@preact/signals";
import { account } from "../api/account.js";
import type { Kind } from "../timeline/entry.js";
import type { SessionState, Tab } from "./session-state.js";

interface Place {
  epoch: string;
  chosen: number | null;
  sticks: boolean;
  tab: Tab;
  kinds: ReadonlySet<Kind>;
  text: string;
}

/** Sessions whose place is kept. */
const KEPT = 50;

const places = new Map<string, Place>();
let userId: string | null = null;

// Another user begins anew.
effect(() => {
  const now = account.value?.claims.userId;
  if (now === undefined || now === userId) return;
  places.clear();
  userId = now;
});

/** Keeps the place of a view that ends. */
export function leave({ model, chosen, sticks, tab, kinds, text, playing }: SessionState): void {
  const { sessionId, epoch } = model.info.value;
  places.delete(sessionId);
  places.set(sessionId, {
    epoch, chosen: chosen.value, sticks: sticks.value && playing.value === null, tab: tab.value, kinds: kinds.value, text: text.value,
  });
  const oldest = places.keys().next().value;
  if (places.size > KEPT && oldest !== undefined) places.delete(oldest);
}

/** Brings a view back to the place where it was left, if the log is still the same. */
export function back(state: SessionState): SessionState {
  const { sessionId, epoch } = state.model.info.value;
  const place = places.get(sessionId);
  if (place?.epoch !== epoch) return state;
  [state.kinds.value, state.text.value, state.tab.value] = [place.kinds, place.text, place.tab];
  if (place.chosen !== null && place.chosen <= state.model.timeline.head) state.choose(place.chosen);
  state.sticks.value = place.sticks;
  return state;
}
