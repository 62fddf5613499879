/** From one connection to the next: attempts, waits, tokens, the end. */
import { type Ended, type GaveUp, hasEnded } from "../outcome.js";
import type { Disconnected } from "../item.js";
import { earlier } from "./commands.js";
import { delay, type Now } from "./settings.js";
import type { State } from "./state.js";
import { describe, type Lost, REPLACED, type Verdict, verdict } from "./verdict.js";

/** The token is renewed when this part of its remaining life is over. */
const RENEW_AFTER = 0.8;
/** Wait before a failed renewal is tried again, ms. */
export const RENEW_AGAIN = 10_000;
/** Heartbeats are missed for this many intervals when a connection counts as dead. */
const MISSED_HEARTBEATS = 2.5;
/** Close codes that a client may use: the end that the user wished for, and a message that makes no sense. */
export const CLOSE_NORMAL = 1000;
export const CLOSE_INVALID = 4000;

/** Begins an attempt to connect, with a new token if that is needed. */
export function begin(state: State, now: Now, fetchToken: boolean): void {
  const deadline = now.at + state.settings.connectTimeout;
  state.wakeBy(deadline);
  if (state.settings.hasTokenProvider && (fetchToken || state.token === null)) {
    state.link = { is: "fetchingToken", deadline };
    state.actions.push({ type: "fetchToken" });
  } else {
    state.link = { is: "connecting", deadline };
    state.stats.attempts += 1;
    state.actions.push({ type: "connect", token: state.token });
  }
}

/** There is a socket that speaks `protocol`. */
export function opened(state: State, now: Now, protocol: string): void {
  if (state.link.is !== "connecting") return;
  state.link = {
    is: "open",
    liveSince: null,
    deadline: state.link.deadline,
    lastReceived: now.at,
    silence: null,
    nextHeartbeat: null,
    heartbeat: null,
    isHeartbeatDue: false,
    maxPayload: Infinity,
    farewell: null,
  };
  if (protocol !== state.settings.codec.subprotocol) {
    lost(state, now, { how: "violation", detail: "the server does not speak version 1 of the protocol" });
  }
}

/** The provider's answer. */
export function token(state: State, now: Now, answer: { token: string } | { error: string }): void {
  const { link } = state;
  if (link.is === "fetchingToken") {
    if ("token" in answer) {
      state.token = answer.token;
      state.isTokenFresh = true;
      begin(state, now, false);
    } else {
      const detail = `no new token: ${answer.error}`;
      state.tell({ type: "disconnected", code: null, detail });
      wait(state, now, 0, true, detail);
    }
  } else if (link.is === "open") {
    if ("token" in answer) refresh(state, now, null, answer.token);
    else renewAt(state, now.at + RENEW_AGAIN);
  }
}

/** Gives the server a newer token. */
export function refresh(state: State, now: Now, key: number | null, newer: string): void {
  state.sendCommand(now, { for: "refresh", key, token: newer }, { command: "refresh_token", token: newer });
}

export function renewAt(state: State, at: number): void {
  state.refreshAt = at;
  state.wakeBy(at);
}

/** The token ends at `expiresAt`, ms since 1970: a new one is fetched before, if there is a provider. */
export function expectExpiry(state: State, now: Now, expiresAt: number | null): void {
  state.refreshAt = null;
  if (expiresAt === null || !state.settings.hasTokenProvider) return;
  const left = Math.max(expiresAt - now.unix, 0);
  renewAt(state, now.at + Math.max(left * RENEW_AFTER, 1000));
}

/** What the server's first message says. */
export interface Greeting {
  clientId: string;
  node: string;
  heartbeatInterval: number;
  maxPayload: number;
  tokenExpiresAt: number | null;
}

/** The server's first message: the connection is ready. */
export function established(state: State, now: Now, greeting: Greeting): void {
  const { connection, settings } = state;
  if (connection?.liveSince !== null) return;
  connection.liveSince = now.at;
  connection.maxPayload = greeting.maxPayload;
  connection.silence = silence(state, greeting.heartbeatInterval);
  connection.nextHeartbeat = settings.heartbeatInterval === null ? null : now.at + settings.heartbeatInterval;
  state.wakeBy(earlier(connection.nextHeartbeat, connection.silence === null ? null : now.at + connection.silence));
  state.isTokenFresh = false;
  expectExpiry(state, now, greeting.tokenExpiresAt);
  if (state.hasConnected) state.stats.reconnects += 1;
  state.hasConnected = true;
  state.tell({ type: "connected", clientId: greeting.clientId, node: greeting.node, attempt: state.attempt + 1 });
  for (const session of state.sessions.keys()) state.attend(session);
  state.replays?.resume(now);
}

/**
 * Silence after which a connection counts as dead. A page does not see the server's pings: only answers to its own
 * heartbeats break the silence for sure, so without them it means nothing.
 */
function silence(state: State, serverInterval: number): number | null {
  const { silenceTimeout, heartbeatInterval } = state.settings;
  if (silenceTimeout !== null) return silenceTimeout;
  if (heartbeatInterval === null) return null;
  return Math.max(serverInterval, heartbeatInterval) * MISSED_HEARTBEATS;
}

/** The server did something that only a server does which is there and well: the next attempt is a first one. */
export function progress(state: State): void {
  state.attempt = 0;
}

/** The socket has ended: with a close frame's code, or without one. */
export function closed(state: State, now: Now, code: number | null, reason: string): void {
  const { connection } = state;
  if (!connection) {
    if (state.link.is === "connecting") lost(state, now, { how: "unreachable", detail: reason || "cannot connect" });
    return;
  }
  const said = connection.farewell;
  if (said) {
    const asked = { reconnect: said.reconnect, after: said.after };
    lost(state, now, { how: "closed", code: code ?? said.code, reason: said.detail, asked });
  } else if (code === null) {
    lost(state, now, { how: "io", detail: reason || "the connection has ended without a word" });
  } else {
    lost(state, now, { how: "closed", code, reason, asked: null });
  }
}

/** The connection is over, or did not come about. */
export function lost(state: State, now: Now, why: Lost): void {
  const found = judge(state, now, why);
  state.actions.push({ type: "disconnect", code: why.how === "violation" ? CLOSE_INVALID : CLOSE_NORMAL });
  const about = describe(why);
  forgetConnection(state, about);
  state.tell({ type: "disconnected", ...about });
  const { hasTokenProvider } = state.settings;
  switch (found.then) {
    case "retry":
      return wait(state, now, found.after, false, about.detail);
    case "newToken":
      if (hasTokenProvider) return wait(state, now, 0, true, about.detail);
      return end(state, { kind: "token", detail: about.detail });
    case "badToken":
      if (hasTokenProvider && !state.isTokenFresh) return wait(state, now, 0, true, about.detail);
      return end(state, found.ended);
    case "end":
      return end(state, found.ended);
  }
}

function judge(state: State, now: Now, why: Lost): Verdict {
  const found = verdict(why);
  const since = state.connection?.liveSince ?? null;
  if (since !== null) {
    // It held for a while, so the next attempt is a first one.
    if (since + state.settings.backoff.max <= now.at) state.attempt = 0;
    // The token was good enough to get in.
    if (found.then === "badToken") return { then: "end", ended: found.ended };
  }
  const isReplaced = found.then === "end" && why.how === "closed" && why.code === REPLACED;
  return isReplaced && state.settings.isFencedElsewhere ? { then: "retry", after: 0 } : found;
}

/** Everything that was under way on the connection is to be done again on the next one. */
function forgetConnection(state: State, about: Disconnected): void {
  state.commands.connectionLost();
  state.replays?.cut();
  state.ready = [];
  state.joins = [];
  state.refreshAt = null;
  for (const found of state.sessions.values()) {
    found.join = { is: "no" };
    found.isListed = false;
    found.outbox.connectionLost();
    if (found.follow?.connectionLost()) state.give(found.follow.key, { type: "disconnected", ...about });
  }
}

function wait(state: State, now: Now, notBefore: number, fetchToken: boolean, last: string): void {
  const { backoff, random } = state.settings;
  const attempts = state.attempt + 1;
  if (backoff.attempts !== null && attempts >= backoff.attempts) return end(state, { kind: "attempts", attempts, last });
  const after = notBefore + delay(backoff, state.attempt, random());
  state.attempt = attempts;
  state.link = { is: "waiting", until: now.at + after, fetchToken };
  state.wakeBy(now.at + after);
  state.tell({ type: "reconnecting", after });
}

/** Ends the client for good. What is outstanding is given up. */
export function end(state: State, why: Ended): void {
  if (state.ended) return;
  state.link = { is: "ended" };
  state.wakeAt = null;
  state.ready = [];
  state.joins = [];
  state.ended = why;
  const gaveUp: GaveUp = { kind: "ended", ended: why };
  const error = hasEnded(why);
  for (const session of state.sessions.keys()) state.forsake(session, error, gaveUp);
  for (const { purpose } of state.commands.takeAll()) state.failPurpose(purpose, error);
  state.replays?.endAll(error);
  state.tell({ type: "ended", ended: why });
}
