/** From one connection to the next: attempts, waits, tokens, the end. */
import { ClientError, type Ended, type GaveUp, hasEnded } from "../outcome.js";
import { amount, type Fields, text } from "./inbound.js";
import { sendAgain } from "./outbox.js";
import { command } from "./requests.js";
import { delay, type Now } from "./settings.js";
import type { Farewell, State } from "./state.js";

/** The token is renewed when this part of its remaining life is over. */
const RENEW_AFTER = 0.8;
/** Wait before a failed renewal is tried again, ms. */
const RENEW_AGAIN = 10_000;
/** Heartbeats are missed for this many intervals when a connection counts as dead. */
const MISSED_HEARTBEATS = 2.5;
/** Close codes that a client may use: the end that the user wished for, and a message that makes no sense. */
const CLOSE_NORMAL = 1000;
export const CLOSE_INVALID = 4000;
/** Close codes after which there is no coming back, where the server has said no more; after most others there is. */
const NEVER: readonly (number | null)[] = [1000, 1008, 4403, 4409];
/** Close code of a connection whose producer has a newer one. */
const REPLACED = 4409;
/** Close code of a token that is no longer good. */
const TOKEN_EXPIRED = 4401;
/** Close code of a breach of policy, as a bad token is. */
const POLICY = 1008;

/** Of a server that has said nothing. */
const NO_FAREWELL: Farewell = { code: null, detail: "", reconnect: "", after: 0 };

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
  after?: number | null | undefined;
  /** The end that it is, if it is one. */
  ended?: Ended;
}

/** Begins an attempt to connect, with a new token if that is needed. */
export function begin(state: State, now: Now, needsToken: boolean): void {
  const { host, settings, token } = state;
  state.phaseEnd = now.at + settings.connectTimeout;
  state.wakeBy(state.phaseEnd);
  if (settings.hasTokenProvider && (needsToken || token === null)) {
    state.phase = "fetchingToken";
    fetchToken(state);
  } else {
    state.phase = "connecting";
    state.stats.attempts += 1;
    state.outputs.push(() => host.connect(token));
  }
}

export function fetchToken({ host, outputs }: State): void {
  outputs.push(() => host.fetchToken());
}

/** There is a socket that speaks `protocol`. */
export function opened(state: State, now: Now, protocol: string): void {
  if (state.phase !== "connecting") return;
  state.phase = "open";
  state.connection = {
    liveSince: null,
    lastReceived: now.at,
    serverTime: 0,
    silence: Infinity,
    nextHeartbeat: Infinity,
    isHeartbeatDue: false,
    heartbeat: null,
    maxPayload: Infinity,
    farewell: NO_FAREWELL,
  };
  if (protocol !== state.settings.codec.subprotocol) {
    lost(state, now, { detail: "the server does not speak version 1 of the protocol" }, CLOSE_INVALID);
  }
}

/** The provider's answer. */
export function token(state: State, now: Now, answer: { token: string } | { error: string }): void {
  if (state.phase === "fetchingToken") {
    if ("token" in answer) {
      state.token = answer.token;
      state.isTokenFresh = true;
      begin(state, now, false);
    } else {
      const detail = `no new token: ${answer.error}`;
      state.tell({ type: "disconnected", code: null, detail });
      wait(state, now, 0, true, detail);
    }
  } else if (state.connection) {
    const again = (): void => renewAt(state, now.at + RENEW_AGAIN);
    if ("token" in answer) command(state, now, (reply) => reply instanceof ClientError && again(), { command: "refresh_token", token: answer.token });
    else again();
  }
}

function renewAt(state: State, at: number): void {
  state.refreshAt = at;
  state.wakeBy(at);
}

/**
 * The token ends at `expiresAt`, ms since 1970 by the server's clock, which the message that says so has as well; the user's may be hours
 * off. A new one is fetched before, if there is a provider.
 */
export function expectExpiry(state: State, now: Now, expiresAt: unknown): void {
  const left = amount(expiresAt, Infinity) - (state.connection?.serverTime ?? 0);
  renewAt(state, state.settings.hasTokenProvider ? now.at + Math.max(left * RENEW_AFTER, 1000) : Infinity);
}

/** The server's first message: the connection is ready. */
export function established(state: State, now: Now, greeting: Fields): void {
  const { connection } = state;
  if (connection?.liveSince !== null) return;
  const { silenceTimeout, heartbeatInterval } = state.settings;
  const interval = heartbeatInterval ?? Infinity;
  state.phaseEnd = Infinity;
  connection.liveSince = now.at;
  connection.maxPayload = amount(greeting.maxPayload, Infinity);
  // A page does not see the server's pings: only answers to its own heartbeats break the silence for sure, so without them
  // it means nothing.
  connection.silence = silenceTimeout ?? Math.max(amount(greeting.heartbeatInterval, 30_000), interval) * MISSED_HEARTBEATS;
  connection.nextHeartbeat = now.at + interval;
  state.wakeBy(connection.nextHeartbeat, now.at + connection.silence);
  state.isTokenFresh = false;
  expectExpiry(state, now, greeting.tokenExpiresAt);
  if (state.hasConnected) state.stats.reconnects += 1;
  state.hasConnected = true;
  state.tell({ type: "connected", clientId: text(greeting.clientId), node: text(greeting.node), attempt: state.attempt + 1 });
  for (const found of state.participations.values()) state.attend(found);
  state.replays?.resume(now);
}

/** The server answered the attempt with another HTTP status than 101. `after` in ms. */
export function turnedAway(state: State, now: Now, status: number, after: number | null, body: string): void {
  if (state.phase !== "connecting") return;
  const isPassing = /^(5..|4(08|25|29))$/.test(String(status));
  lost(state, now, {
    detail: `HTTP status ${status}: ${body}`, then: status === 401 ? "badToken" : isPassing ? undefined : "end", after,
    ended: { kind: "http", status, detail: body },
  });
}

/**
 * The socket has ended, with a close frame's code or without one, or did not come about. What the server said in words goes
 * before what the code usually means; an end without either is a proxy's or nobody's, and coming back is right.
 */
export function closed(state: State, now: Now, code: number | null, reason: string): void {
  const { connection, phase, settings } = state;
  if (!connection && phase !== "connecting") return;
  const farewell = connection?.farewell ?? NO_FAREWELL;
  const said = code ?? farewell.code;
  const detail = farewell.detail || reason || (connection ? "closed without a word" : "cannot connect");
  const about: Lost = { code: said, detail, after: farewell.after, ended: { kind: "dismissed", code: said, detail } };
  switch (farewell.reconnect || usually(said)) {
    case "refresh_token":
      about.then = "newToken";
      about.ended = { kind: "token", detail };
      break;
    case "never":
      if (said !== REPLACED || !settings.isFencedElsewhere) about.then = said === POLICY ? "badToken" : "end";
  }
  lost(state, now, about);
}

/** What a close code means, where the server has said no more. */
function usually(code: number | null): string {
  return code === TOKEN_EXPIRED ? "refresh_token" : NEVER.includes(code) ? "never" : "now";
}

/** The connection is over, or did not come about. `closeCode` is said to the server. */
export function lost(state: State, now: Now, { code = null, detail, then, after, ended }: Lost, closeCode = CLOSE_NORMAL): void {
  const { hasTokenProvider, backoff } = state.settings;
  const since = state.connection?.liveSince ?? Infinity;
  const about = { code, detail };
  // What the server has asked for is no break.
  let broken = then || after ? null : detail;
  if (since + backoff.max <= now.at) {
    // It held for a while, so the next attempt is a first one.
    state.attempt = 0;
    broken = null;
  }
  disconnect(state, closeCode);
  forgetConnection(state, about, broken);
  state.tell({ type: "disconnected", ...about });
  // A token that was refused later was good enough to get in.
  if (then === "badToken" && since === Infinity && !state.isTokenFresh) then = "newToken";
  const isNewToken = then === "newToken" && hasTokenProvider;
  if (then && ended && !isNewToken) end(state, now, ended);
  else wait(state, now, then ? 0 : after, isNewToken, detail);
}

function disconnect({ host, outputs }: State, code: number): void {
  outputs.push(() => host.disconnect(code));
}

/** Everything that was under way on the connection is to be done again on the next one. */
function forgetConnection(state: State, about: { code: number | null; detail: string }, broken: string | null): void {
  state.connection = null;
  state.refreshAt = Infinity;
  state.joins.clear();
  state.ready.clear();
  for (const [number, command] of state.pending) {
    command.holdUntil = Infinity;
    if (command.isPassing) state.pending.delete(number);
  }
  state.unsent = new Set(state.pending.keys());
  state.replays?.cut();
  for (const found of state.participations.values()) {
    found.join = "no";
    sendAgain(state, found, broken);
    if (found.follow?.connectionLost()) state.give(found.follow, { type: "disconnected", ...about });
  }
}

function wait(state: State, now: Now, notBefore: number | null | undefined, needsToken: boolean, last: string): void {
  const { backoff, random } = state.settings;
  const attempts = state.attempt + 1;
  if (attempts >= (backoff.attempts ?? Infinity)) return end(state, now, { kind: "attempts", attempts, last });
  const after = (notBefore ?? 0) + delay(backoff, state.attempt, random());
  state.attempt = attempts;
  state.phase = "waiting";
  state.needsToken = needsToken;
  state.phaseEnd = now.at + after;
  state.wakeBy(state.phaseEnd);
  state.tell({ type: "reconnecting", after });
}

/** Ends the client for good. What is outstanding is given up. */
function end(state: State, now: Now, why: Ended): void {
  const gaveUp: GaveUp = { kind: "ended", ended: why };
  const error = hasEnded(why);
  state.phase = "ended";
  state.connection = null;
  state.ended = why;
  for (const found of state.participations.values()) state.forsake(found, error, gaveUp);
  for (const command of state.pending.values()) command.take(error, now, command);
  state.pending.clear();
  state.replays?.endAll(error);
  state.phaseEnd = state.refreshAt = state.wakeAt = Infinity;
  state.tell({ type: "ended", ended: why });
}

/** Ends the client as the user, or the durable outbox, wants it. */
export function close(state: State, now: Now, why: Ended): void {
  if (state.ended) return;
  disconnect(state, CLOSE_NORMAL);
  end(state, now, why);
}
