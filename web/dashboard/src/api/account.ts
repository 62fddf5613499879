/** Who is signed in: the token, kept for this tab, and the calls that go with it. */
import { computed, effect, signal } from "@preact/signals";
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
/** Why one has to sign in again. */
export const expired = signal(false);
export const claims = computed(() => account.value?.claims ?? null);

/** Signs in. `false` if the text is no token. */
export function signIn(text: string): boolean {
  const token = text.trim();
  const found = readClaims(token);
  if (!found) return false;
  if (found.expiresAt !== null && found.expiresAt <= Date.now()) {
    tokenIsOver();
    return true;
  }
  sessionStorage.setItem(KEPT_AS, token);
  expired.value = false;
  account.value = { token, claims: found, api: new Api(token, tokenIsOver) };
  return true;
}

/** Signs out, and forgets the token. */
export function signOut(): void {
  sessionStorage.removeItem(KEPT_AS);
  account.value = null;
}

/** The token is not good any more: ask for another one, and stay where one is. */
export function tokenIsOver(): void {
  signOut();
  expired.value = true;
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
  const end = account.value?.claims.expiresAt;
  if (end === undefined || end === null) return undefined;
  const timer = setTimeout(() => {
    if (Date.now() >= end) tokenIsOver();
  }, Math.min(end - Date.now() + 500, LONGEST_WAIT));
  return () => clearTimeout(timer);
});
