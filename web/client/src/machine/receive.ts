/** From the server's messages to what they change: outcomes, replies, items. */
import type { EventItem, LifecycleItem, ViolationItem } from "../item.js";
import type { AckLevel, Presence, SystemMessage, Warning } from "../protocol.js";
import { commandRefused } from "./commands.js";
import { CLOSE_INVALID, established, lost } from "./connect.js";
import { type Following, isOfAnotherHistory } from "./follow.js";
import { ackedIn, amount, delivered, type Fields, isObject, readError, readFarewell, readGap, seqOf, text } from "./inbound.js";
import { eventRefused, frameRefused, stored } from "./outbox.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** Changes of the session itself, which are entries of its log. */
const LIFECYCLE = /^session_(created|started|paused|resumed|stopped|expired)$/;

/** A frame has arrived: one message, or an array of them. */
export function received(state: State, now: Now, frame: unknown): void {
  const { connection } = state;
  if (!connection) return;
  connection.lastReceived = now.at;
  let messages: unknown[];
  try {
    messages = [state.settings.codec.decode(frame)].flat();
    if (!messages.every(isObject)) throw new Error("not a message");
  } catch (cause) {
    return lost(state, now, { detail: `the server's message cannot be read: ${String(cause)}` }, CLOSE_INVALID);
  }
  for (const message of messages) take(state, now, message, isObject(message.data) ? message.data : {});
}

function take(state: State, now: Now, message: Fields, data: Fields): void {
  const type = text(data.type);
  switch (message.type) {
    case "test_event":
      return takeEntry(state, message, data, false);
    case "system_message":
      // A log's entry that is of a later version still has its place.
      if (seqOf(message.seq) >= 0) takeEntry(state, message, data, LIFECYCLE.test(type));
      else takeSystemMessage(state, now, message, type, data);
      return;
    case "heartbeat":
      return takeHeartbeat(state, now, data);
    case "error":
      return takeError(state, now, message, data);
    default:
    // A later version's.
  }
}

function takeSystemMessage(state: State, now: Now, { timestamp }: Fields, type: string, data: Fields): void {
  if (state.connection) state.connection.serverTime = amount(timestamp, 0);
  const session = text(data.sessionId);
  const follow = state.participations.get(session)?.follow;
  switch (type) {
    case "ack":
      return takeAck(state, session, data);
    case "connection_established":
      return established(state, now, data);
    case "gap":
      return takeGap(state, session, follow, data);
    case "user_joined":
    case "user_left":
      if (follow?.isLive) state.give(follow, { type: "presence", joined: type === "user_joined", presence: data as unknown as Presence });
      return;
    case "disconnecting":
      if (state.connection) state.connection.farewell = readFarewell(data);
      return;
    default:
      return takeReply(state, now, session, data);
  }
}

/** The session that a message names; all of them if it names none, as a server might that answers for several at once. */
function named({ participations }: State, session: string): Participation[] {
  return [...participations.values()].filter((found) => !session || found.session === session);
}

function takeAck(state: State, session: string, data: Fields): void {
  const { warnings } = data;
  const outcome = {
    status: "stored" as const,
    epoch: text(data.epoch) || null,
    level: (text(data.level) || null) as AckLevel | null,
    duplicate: data.duplicate === true,
    ...(Array.isArray(warnings) && warnings.length > 0 && { warnings: warnings as Warning[] }),
  };
  for (const found of named(state, session)) {
    for (const [id, seq] of ackedIn(data)) {
      if (stored(state, found, id, { ...outcome, seq }) && outcome.duplicate) state.stats.duplicates += 1;
    }
    state.attend(found);
  }
}

/** Takes an entry of a log: passes it on if it is the next one, and a hole before it, too. */
function takeEntry(state: State, message: Fields, data: Fields, isLifecycle: boolean): void {
  const isReplay = message.replay === true;
  const entry = delivered(message, data);
  const { seq, sessionId } = entry;
  if (seq < 0 || !sessionId) return;
  const item: EventItem | LifecycleItem = isLifecycle ? { type: "lifecycle", change: data as unknown as SystemMessage, ...entry } : { type: "event", ...entry };
  if (isReplay && state.replays?.take(item)) {
    state.attempt = 0;
    return;
  }
  const follow = isReplay ? null : state.participations.get(sessionId)?.follow;
  if (follow?.isLive) takeNext(state, follow, item);
  else state.stats[follow?.isHeld ? "deferred" : "unexpected"] += 1;
}

function takeNext(state: State, follow: Following, item: EventItem | LifecycleItem): void {
  const arrival = follow.arrived(item.seq, item.id);
  if (arrival === "repeats" || arrival === "late") {
    state.stats[arrival] += 1;
    if (arrival === "late") state.give(follow, { ...item, type: arrival });
    return;
  }
  if (arrival !== "next") violated(state, follow, arrival);
  state.attempt = 0;
  state.stats.delivered += 1;
  state.give(follow, item);
}

function violated(state: State, follow: Following, violation: ViolationItem | null): void {
  if (!violation) return;
  state.stats.violations += 1;
  state.give(follow, violation);
}

function takeGap(state: State, session: string, follow: Following | null | undefined, data: Fields): void {
  const gap = readGap(data);
  if (!gap) return;
  const isReplayed = state.replays?.skip(session, gap);
  if (!follow || (isReplayed && follow.has(gap.to))) return;
  // One that moves the place is said again when a held follow goes on from there.
  if (!follow.isLive && !(follow.isHeld && isOfAnotherHistory(gap))) return;
  violated(state, follow, follow.skipped(gap));
  state.give(follow, gap);
}

function takeHeartbeat(state: State, now: Now, data: Fields): void {
  const { connection } = state;
  const sent = connection?.heartbeat;
  if (!connection || sent?.number !== state.numberIn("h", data.originalMessageId)) return;
  connection.heartbeat = null;
  state.latency = Math.max(now.at - sent.at, 0);
}

function takeReply(state: State, now: Now, session: string, data: Fields): void {
  const number = state.numberIn("c", data.originalMessageId);
  if (data.type === "replay_finished") return state.replays?.finished(now, session, number);
  const command = state.pending.get(number);
  if (!command) return;
  if (!command.isPassing) state.attempt = 0;
  state.pending.delete(number);
  command.take(data as unknown as SystemMessage, now, command);
}

function takeError(state: State, now: Now, message: Fields, data: Fields): void {
  const refusal = readError(data);
  if (!refusal) return;
  const id = text(refusal.originalMessageId);
  const number = state.numberIn("c", id);
  if (!id) {
    state.tell({ type: "serverError", refusal });
    if (refusal.code === "malformed_json" && !frameRefused(state, refusal)) lost(state, now, { detail: `the server cannot read a message: ${refusal.error}` });
  } else if (number >= 0) commandRefused(state, now, number, refusal);
  else if (!(state.numberIn("h", id) >= 0) && !named(state, text(message.sessionId)).some((found) => eventRefused(state, now, found, id, refusal))) {
    // Its ack was not wanted, or it was given up.
    state.stats.refused += 1;
  }
}
