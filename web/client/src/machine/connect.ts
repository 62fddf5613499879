/** From one connection to the next: attempts, waits, tokens, the end. */
import { type Ended, type GaveUp, hasEnded } from "../outcome.js";
import { amount, type Fields, text } from "./inbound.js";
import { delay, type Now } from "./settings.js";
import type { Farewell, State } from "./state.js";

/** The token is renewed when this part of its remaining life is over. */
const RENEW_AFTER = 0.8;
/** Wait before a failed renewal is tried again, ms. */
export const RENEW_AGAIN = 10_000;
/** Heartbeats are missed for this many intervals when a connection counts as dead. */
const MISSED_HEARTBEATS = 2.5;
/** Close codes that a client may use: the end that the user wished for, and a message that makes no sense. */
export const CLOSE_NORMAL = 1000;
export const CLOSE_INVALID = 4000;
/** Close codes after which there is no coming back, where the server has said no more; after most others there is. */
const NEVER = [1000, 1008, 4403, 4409];
/** Close code of a connection whose producer has a newer one. */
const REPLACED = 4409;
/** Close code of a token that is no longer good. */
const TOKEN_EXPIRED = 4401;
/** Close code of a breach of policy, as a bad token is. */
const POLICY = 1008;
/** The connection was not ready in time. */
export const TOO_SLOW: Lost = { detail: "the server did not answer in time" };

/** How a connection ended, or why it did not come about, and what follows. */
export interface Lost {
  /** The close frame's code. */
  code?: number | null;
  /** What happened, in words. */
  detail: string;
  /**
   * If left out: try again after the usual backoff, and not before `after`. `newToken`: get one, then try again. `badToken`: it
   * was refused; a new one helps, if there is one. `end`: never.
   */
  then?: "newToken" | "badToken" | "end" | undefined;
  /** ms. */
  after?: number;
  /** The end that it is, if it is one. */
  ended?: Ended;
}

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
    lost(state, now, { detail: "the server does not speak version 1 of the protocol" }, CLOSE_INVALID);
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

/** The server's first message: the connection is ready. */
export function established(state: State, now: Now, greeting: Fields): void {
  const { connection } = state;
  if (connection?.liveSince !== null) return;
  connection.liveSince = now.at;
  connection.maxPayload = amount(greeting.maxPayload) ?? Infinity;
  const { silenceTimeout, heartbeatInterval } = state.settings;
  // A page does not see the server's pings: only answers to its own heartbeats break the silence for sure, so without them
  // it means nothing.
  connection.silence = silenceTimeout ??
    (heartbeatInterval && Math.max(amount(greeting.heartbeatInterval) ?? 30_000, heartbeatInterval) * MISSED_HEARTBEATS);
  connection.nextHeartbeat = heartbeatInterval && now.at + heartbeatInterval;
  state.wakeBy(connection.nextHeartbeat);
  state.wakeBy(connection.silence && now.at + connection.silence);
  state.isTokenFresh = false;
  expectExpiry(state, now, amount(greeting.tokenExpiresAt));
  if (state.hasConnected) state.stats.reconnects += 1;
  state.hasConnected = true;
  state.tell({ type: "connected", clientId: text(greeting.clientId) ?? "", node: text(greeting.node) ?? "", attempt: state.attempt + 1 });
  for (const session of state.sessions.keys()) state.attend(session);
  state.replays?.resume(now);
}

/** The server did something that only a server does which is there and well: the next attempt is a first one. */
export function progress(state: State): void {
  state.attempt = 0;
}

/** The server answered the attempt with another HTTP status than 101. `after` in ms. */
export function turnedAway(state: State, now: Now, status: number, after: number | null, body: string): void {
  if (state.link.is !== "connecting") return;
  const isPassing = [408, 425, 429].includes(status) || (status >= 500 && status <= 599);
  lost(state, now, {
    detail: `HTTP status ${status}: ${body}`, then: status === 401 ? "badToken" : isPassing ? undefined : "end", after: after ?? 0,
    ended: { kind: "http", status, detail: body },
  });
}

/** The socket has ended: with a close frame's code, or without one. */
export function closed(state: State, now: Now, code: number | null, reason: string): void {
  const { connection } = state;
  if (!connection) {
    if (state.link.is === "connecting") lost(state, now, { detail: reason || "cannot connect" });
    return;
  }
  const { farewell } = connection;
  // A proxy's end, or nobody's: coming back is right.
  if (!farewell && code === null) lost(state, now, { detail: reason || "the connection has ended without a word" });
  else goodbye(state, now, code ?? farewell?.code ?? CLOSE_NORMAL, farewell?.detail ?? reason, farewell);
}

/** The server closed the connection. What it said in words goes before what its code usually means. */
function goodbye(state: State, now: Now, code: number, reason: string, farewell: Farewell | null): void {
  const reconnect = farewell?.reconnect ?? (NEVER.includes(code) ? "never" : code === TOKEN_EXPIRED ? "refresh_token" : "now");
  const detail = reason || "closed by the server";
  if (reconnect === "refresh_token") lost(state, now, { code, detail, then: "newToken", ended: { kind: "token", detail } });
  else {
    const then = reconnect !== "never" ? undefined : code === POLICY ? "badToken" : "end";
    lost(state, now, { code, detail, then, after: then ? 0 : (farewell?.after ?? 0), ended: { kind: "dismissed", code, detail: reason } });
  }
}

/** The connection is over, or did not come about. `closeCode` is said to the server. */
export function lost(state: State, now: Now, { code = null, detail, then, after, ended }: Lost, closeCode = CLOSE_NORMAL): void {
  const { hasTokenProvider, isFencedElsewhere, backoff } = state.settings;
  const since = state.connection?.liveSince ?? Infinity;
  // It held for a while, so the next attempt is a first one.
  if (since + backoff.max <= now.at) state.attempt = 0;
  state.actions.push({ type: "disconnect", code: closeCode });
  const about = { code, detail };
  forgetConnection(state, about);
  state.tell({ type: "disconnected", ...about });
  if (then === "end" && code === REPLACED && isFencedElsewhere) then = undefined;
  // A token that was refused later was good enough to get in.
  if (then === "badToken" && since === Infinity && !state.isTokenFresh) then = "newToken";
  if (!then || !ended) wait(state, now, after, false, detail);
  else if (then === "newToken" && hasTokenProvider) wait(state, now, 0, true, detail);
  else end(state, ended);
}

/** Everything that was under way on the connection is to be done again on the next one. */
function forgetConnection(state: State, about: { code: number | null; detail: string }): void {
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

function wait(state: State, now: Now, notBefore: number | undefined, fetchToken: boolean, last: string): void {
  const { backoff, random } = state.settings;
  const attempts = state.attempt + 1;
  if (backoff.attempts !== null && attempts >= backoff.attempts) return end(state, { kind: "attempts", attempts, last });
  const after = (notBefore ?? 0) + delay(backoff, state.attempt, random());
  state.attempt = attempts;
  state.link = { is: "waiting", deadline: now.at + after, fetchToken };
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
