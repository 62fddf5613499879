/**
 * The events of one session that wait for their acks, in the order in which they were published.
 *
 * ```text
 *   front ─ sent, ack awaited ─┬─ to be sent ─ back
 *                              └ `inFlight` counts those before it
 * ```
 * A refusal that is worth a retry, or a new connection, moves the mark back, so that everything from there on is sent
 * again in order; what the log has already is acked as a duplicate. Events without an ack stay until those before them
 * are acked, so that they keep their place.
 */
import type { GaveUp, Outcome } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import type { Event } from "../event.js";
import { retryAt } from "./commands.js";
import type { Settled } from "./outputs.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** One published event. */
export interface Entry {
  readonly id: string;
  readonly event: Event;
  /** When it was published, ms since 1970. */
  readonly timestamp: number;
  readonly deadline: number;
  /** Whom to tell; `null` if no ack is wanted. */
  readonly ticket: Settled | null;
  /** How often it was handed to a connection. */
  sends: number;
  /** A send of it was never answered, or answered in a way that leaves open whether it is stored. */
  inDoubt: boolean;
  refused: number;
  lastRefusal: ErrorData | null;
  /** Connections in a row that broke while it was the first on its way. */
  breaks: number;
}

/** Breaks at the same event after which it is sent alone: a bad network breaks at any. */
const ALONE_AFTER = 3;
/** Breaks after which it is given up, the later ones when it was alone. */
const GIVE_UP_AFTER = 8;

/** Refusals that leave open whether the log has the event. */
const DOUBTFUL = ["log_unavailable", "internal"];
/** Refusals given only after the server has looked for a repeat: they say that there was none. */
const CERTAIN = ["session_closed", "id_conflict", "payload_too_large", "malformed_json"];

/** Notes that the next event was handed to the connection. */
export function sent(state: State, found: Participation, entry: Entry): void {
  state.stats.sent += 1;
  if (entry.sends > 0) state.stats.retried += 1;
  entry.sends += 1;
  found.inFlight += 1;
  releaseUnacked(state, found);
}

/** Those that want no ack are done when they are sent and nothing is before them; among suspects they are acked, too. */
function releaseUnacked(state: State, found: Participation): void {
  while (found.inFlight > 0 && found.entries[0]?.ticket === null && state.suspects.size === 0) remove(state, found, 0);
}

function remove(state: State, found: Participation, index: number): Entry | undefined {
  const { entries } = found;
  const entry = entries[index];
  if (!entry) return undefined;
  state.suspects.delete(entry);
  if (index < found.inFlight) found.inFlight -= 1;
  if (index === 0) entries.shift();
  else entries.splice(index, 1);
  state.usage.messages -= 1;
  state.usage.bytes -= entry.event.bytes;
  return entry;
}

/** Takes an event out, and tells what became of it. Gives `false` if there is none. */
function settle(state: State, found: Participation, index: number, outcomeOf: (entry: Entry) => Outcome): boolean {
  const entry = remove(state, found, index);
  if (!entry) return false;
  const outcome = outcomeOf(entry);
  state.stats[outcome.status === "stored" ? "acked" : outcome.status] += 1;
  state.outputs.push(() => entry.ticket?.(outcome));
  releaseUnacked(state, found);
  return true;
}

/** Where an event is. Acks come in order, so it is nearly always at the front. */
function indexOf(found: Participation, id: string): number {
  return found.entries.findIndex((entry) => entry.id === id);
}

/** The log has an event. Gives `false` if it is none of this session's. */
export function stored(state: State, found: Participation, id: string, outcome: Outcome): boolean {
  const isOne = settle(state, found, indexOf(found, id), () => outcome);
  if (isOne) answered(state, found);
  return isOne;
}

/** The server has settled an event: that is progress. */
function answered(state: State, found: Participation): void {
  state.attempt = 0;
  found.isMoving = true;
}

/** Gives an event up, if there is one. */
export function giveUp(state: State, found: Participation, index: number, why: GaveUp): boolean {
  const wasInFlight = index < found.inFlight;
  return settle(state, found, index, ({ lastRefusal: refusal, inDoubt, sends }) => {
    // Where every send of it was answered with a refusal, it is refused.
    return refusal && !wasInFlight && !inDoubt ? { status: "refused", refusal } : { status: "unknown", why, sent: sends > 0 };
  });
}

/** A refusal settles an event, unless an earlier send of it may have succeeded. */
export function refuse(state: State, found: Participation, index: number, refusal: ErrorData, kind: "refusedAgain" | "retries"): void {
  settle(state, found, index, ({ inDoubt }) => {
    const isOpen = inDoubt && !(kind === "refusedAgain" && CERTAIN.includes(refusal.code));
    return isOpen ? { status: "unknown", why: { kind, refusal }, sent: true } : { status: "refused", refusal };
  });
}

/** The server has refused an event. Gives `false` if it is none of this session's. */
export function eventRefused(state: State, now: Now, found: Participation, id: string, refusal: ErrorData): boolean {
  const { entries } = found;
  const { code } = refusal;
  const index = indexOf(found, id);
  const entry = entries[index];
  if (!entry) return false;
  found.isMoving = true;
  if (!refusal.retryable && code !== "not_a_participant") {
    answered(state, found);
    refuse(state, found, index, refusal, "refusedAgain");
  } else if (index < found.inFlight) {
    entry.inDoubt ||= DOUBTFUL.includes(code);
    entry.refused += 1;
    if (entry.refused > (state.settings.publishRetries ?? Infinity)) refuse(state, found, index, refusal, "retries");
    else {
      entry.lastRefusal = refusal;
      // The answers to what was sent behind it will not be waited for.
      doubt(found, index + 1);
      found.inFlight = index;
      found.holdUntil = retryAt(state, now, entry.refused - 1, refusal);
      state.stats.heldBack += 1;
      // The server has lost us there: joined again, we may go on.
      if (code === "not_a_participant" && found.join === "done") found.join = "no";
    }
  }
  state.attend(found);
  return true;
}

function doubt(found: Participation, from: number): void {
  for (const entry of found.entries.slice(from, found.inFlight)) entry.inDoubt = true;
}

/**
 * The connection is lost: everything is to be sent again. If it broke soon, `broken` says why: what breaks each connection before the
 * server has answered to it is given up in the end.
 */
export function sendAgain(state: State, found: Participation, broken: string | null): void {
  const [first] = found.entries;
  if (broken !== null && first && found.inFlight > 0 && !found.isMoving) {
    first.breaks += 1;
    if (first.breaks >= ALONE_AFTER) suspect(state, found);
    if (first.breaks >= GIVE_UP_AFTER) giveUp(state, found, 0, { kind: "breaks", detail: broken });
  }
  doubt(found, 0);
  found.inFlight = 0;
  found.isMoving = false;
  found.holdUntil = Infinity;
}

/** One of those that are on their way may be what cannot be read or carried: they are sent one by one. */
function suspect({ suspects }: State, found: Participation): void {
  for (const entry of found.entries.slice(0, found.inFlight)) suspects.add(entry);
}

/** How many messages of this connection wait for their answers. */
export function unanswered({ participations, pending, unsent }: State): number {
  const commands = [...pending].filter(([number, { holdUntil }]) => holdUntil === Infinity && !unsent.has(number));
  return [...participations.values()].reduce((sum, { inFlight }) => sum + inFlight, commands.length);
}

/**
 * The server could not read a frame, and so not whose messages were in it. Gives `false` if only a new connection helps, on which the
 * suspects go one by one.
 */
export function frameRefused(state: State, refusal: ErrorData): boolean {
  const sending = [...state.participations.values()].filter(({ inFlight }) => inFlight > 0);
  const [found] = sending;
  if (!found) return true;
  if (state.suspects.size === 0 || unanswered(state) > 1) {
    for (const one of sending) suspect(state, one);
    return false;
  }
  answered(state, found);
  refuse(state, found, 0, refusal, "refusedAgain");
  state.attend(found);
  // A good message in between: servers close a connection after too many bad ones in a row.
  if (state.connection) state.connection.isHeartbeatDue = true;
  return true;
}
