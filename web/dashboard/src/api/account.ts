/** Who is signed in: the token, kept for this tab, and the calls that go with it. */
import { computed, effect, signal } from "@preact/signals";
import { serverTime } from "../clock.js";
import { Api } from "./http.js";
import { type Claims, readClaims } from "./claims.js";

const KEPT_AS = "agentbench.token";
/** Longest wait that a timer takes, ms. */
const LONGEST_WAIT = 2 ** 31 - 1;

/** One who is signed in. */
export interface Account {
  token: string;
  claims: Claims;
  api: Api;
}

/** Who is signed in, if anybody. */
export const account = signal<Account | null>(null);
/** Why one has to sign in again: the token's time was over, or the server's own words; `null` if one need not. */
export const over = signal<"expired" | { why: string } | null>(null);
export const claims = computed(() => account.value?.claims ?? null);

/** Signs in. `false` if the text is no token. Whether it is still good is the server's to say. */
export function signIn(text: string): boolean {
  const token = text.trim();
  const found = readClaims(token);
  if (!found) return false;
  sessionStorage.setItem(KEPT_AS, token);
  over.value = null;
  account.value = { token, claims: found, api: new Api(token, tokenIsOver) };
  return true;
}

/** Signs out, and forgets the token. */
export function signOut(): void {
  sessionStorage.removeItem(KEPT_AS);
  account.value = null;
}

/** What the server's clock is not known better than, ms. */
const UNSURE = 1000;

/** Whether a token's time is over, by the server's clock; `false` as long as that is not known. */
function hasEnded({ expiresAt }: Claims, early = 0): boolean {
  const at = serverTime();
  return expiresAt !== null && at !== null && at >= expiresAt - early;
}

/** The token is not good any more, for the server's reason: ask for another one, and stay where one is. */
export function tokenIsOver(why: string): void {
  const held = account.peek()?.claims;
  signOut();
  over.value = held && hasEnded(held, UNSURE) ? "expired" : { why };
}

/** Takes the token out of the address (`#token=…`), if there is one. Whether it signed somebody in, or tried to. */
function takeFromAddress(): boolean {
  const given = /^#token=([^&]*)/.exec(location.hash)?.[1];
  if (given === undefined) return false;
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
  return signIn(given);
}

/** Takes the token of the address once, or that of the tab. A link with a token may also be opened later. */
export function begin(): void {
  addEventListener("hashchange", takeFromAddress);
  if (takeFromAddress()) return;
  const kept = sessionStorage.getItem(KEPT_AS);
  if (kept !== null) signIn(kept);
}

// The end of the token's life is noticed even if nothing is asked of the server.
effect(() => {
  const held = account.value?.claims;
  const at = serverTime();
  const end = held?.expiresAt ?? null;
  if (!held || end === null || at === null) return undefined;
  const timer = setTimeout(() => {
    if (hasEnded(held)) tokenIsOver("");
  }, Math.min(end - at + 500, LONGEST_WAIT));
  return () => clearTimeout(timer);
});
