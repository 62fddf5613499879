/**
 * Sessions that are replayed: the log again at its own pace, over reconnects.
 *
 * The server's entries of a replay name the session and not the replay, so a client has one replay of a session at a time, and
 * takes exactly the next entry: what is left of an earlier one that the user has given up is passed over.
 */
import type { GapItem } from "../item.js";
import { ClientError } from "../outcome.js";
import type { Incoming } from "./inbound.js";
import { delivered } from "./inbound.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** One replay. */
export interface Replaying {
  readonly key: number;
  readonly speed: number;
  next: number;
  /** The command's number on this connection; `null` if it is to be sent again. */
  number: number | null;
  /** Its reader has more than enough: entries are dropped. */
  isPaused: boolean;
  /** Entries were dropped: the rest of this replay is of no use, and the next one begins where it was. */
  isBehind: boolean;
}

/** Begins one; `key` is told of the start. */
export function replay(state: State, now: Now, key: number, own: number, session: string, speed: number, fromSeq: number): void {
  state.checkOpen();
  if (state.replays.has(session)) throw new ClientError("alreadyFollowing", "this client replays the session already");
  state.replays.set(session, { key: own, speed, next: Math.max(fromSeq, 1), number: null, isPaused: false, isBehind: false });
  ask(state, now, session, key);
}

function ask(state: State, now: Now, session: string, key: number | null): void {
  const found = state.replays.get(session);
  if (!found) return;
  found.number = state.lastNumber + 1;
  found.isBehind = false;
  state.sendCommand(now, { for: "replay", session, key }, { command: "replay_session", sessionId: session, speed: found.speed, fromSeq: found.next });
}

/** The connection is lost: those that had begun are asked for again on the next one. The others' commands are repeated. */
export function replaysCut(state: State): void {
  for (const found of state.replays.values()) if (found.number !== null && !state.commands.get(found.number)) found.number = null;
}

/** There is a connection, or room: asks for those that are to go on. */
export function resumeReplays(state: State, now: Now): void {
  if (!state.isConnected) return;
  for (const [session, found] of state.replays) if (found.number === null && !found.isPaused) ask(state, now, session, null);
}

/** Takes an entry of a replay. */
export function replayed(state: State, message: Incoming, type: "event" | "lifecycle"): void {
  const { seq, sessionId, data } = message;
  const found = state.replays.get(sessionId ?? "");
  if (seq === null || sessionId === null || found?.next !== seq || found.isBehind) state.stats.unexpected += 1;
  else if (found.isPaused) found.isBehind = true;
  else {
    found.next = seq + 1;
    const entry = delivered(message, sessionId, seq);
    state.give(found.key, type === "event" ? { type, ...entry } : { type, change: data as never, ...entry });
  }
}

/** Takes a gap, if a replay has come to it: these causes hold for every reader of the log. Tells whether it has. */
export function replayGap(state: State, session: string, gap: GapItem): boolean {
  const found = state.replays.get(session);
  if (!found || found.isBehind || gap.from !== found.next || !["damaged", "retention"].includes(gap.cause)) return false;
  found.next = gap.to + 1;
  state.give(found.key, gap);
  return true;
}

/** The end of the replay that this command began. */
export function replayFinished(state: State, now: Now, session: string, number: number | null): void {
  const found = state.replays.get(session);
  if (!found || number === null || found.number !== number) return;
  if (found.isBehind) {
    found.number = null;
    return resumeReplays(state, now);
  }
  endReplay(state, session, null);
}

/** A replay is over: at its end (`null`), or since it failed. */
export function endReplay(state: State, session: string, error: ClientError | null): void {
  const found = state.replays.get(session);
  state.replays.delete(session);
  if (found) state.told.push(error ? { type: "followEnded", follow: found.key, error } : { type: "replayFinished", replay: found.key });
}

/** The session whose replay this command began. */
export function replayOf(state: State, number: number): string | null {
  for (const [session, found] of state.replays) if (found.number === number) return session;
  return null;
}
