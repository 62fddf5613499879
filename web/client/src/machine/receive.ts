/** From the server's messages to what they change: outcomes, replies, items. */
import { ClientError } from "../outcome.js";
import type { Delivered, ViolationItem } from "../item.js";
import type { AckLevel, Presence, SystemMessage } from "../protocol.js";
import type { Pending } from "./commands.js";
import { CLOSE_INVALID, established, expectExpiry, lost, progress } from "./connect.js";
import type { Following } from "./follow.js";
import {
  ackedIn, delivered, type Fields, type Incoming, readFarewell, readGap, readJoined, readMessages, text,
} from "./inbound.js";
import { left } from "./outbox.js";
import { joinFailed, takeError } from "./refusals.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** Changes of the session itself, which are entries of its log. */
const LIFECYCLE = /^session_(created|started|paused|resumed|stopped|expired)$/;

/** A frame has arrived. */
export function received(state: State, now: Now, frame: unknown): void {
  const { connection } = state;
  if (!connection) return;
  connection.lastReceived = now.at;
  let messages: Incoming[];
  try {
    messages = readMessages(state.settings.codec.decode(frame));
  } catch (cause) {
    return lost(state, now, { detail: `the server's message cannot be read: ${String(cause)}` }, CLOSE_INVALID);
  }
  for (const message of messages) take(state, now, message);
}

function take(state: State, now: Now, message: Incoming): void {
  switch (message.type) {
    case "test_event":
      return takeEntry(state, message, "event");
    case "system_message":
      return takeSystemMessage(state, now, message);
    case "heartbeat":
      return takeHeartbeat(state, now, message.data);
    case "error":
      return takeError(state, now, message);
    default:
    // A later version's.
  }
}

function takeSystemMessage(state: State, now: Now, message: Incoming): void {
  const { data } = message;
  const type = text(data.type) ?? "";
  if (message.seq !== null) {
    // A log's entry that is of a later version still has its place.
    return takeEntry(state, message, LIFECYCLE.test(type) ? "lifecycle" : "event");
  }
  switch (type) {
    case "ack":
      return takeAck(state, data);
    case "connection_established":
      return established(state, now, data);
    case "gap":
      return takeGap(state, data);
    case "user_joined":
    case "user_left":
      return takePresence(state, type === "user_joined", data);
    case "disconnecting":
      if (state.connection) state.connection.farewell = readFarewell(data);
      return;
    default:
      return takeReply(state, now, data);
  }
}

function takeAck(state: State, data: Fields): void {
  progress(state);
  const pairs = ackedIn(data);
  const named = text(data.sessionId);
  const duplicate = data.duplicate === true;
  // Only a server that acks several sessions at once would leave the session out; then it has to be looked for.
  for (const session of named === null ? [...state.sessions.keys()] : [named]) {
    const found = state.sessions.get(session);
    if (!found) continue;
    for (const [id, seq] of pairs) {
      const entry = found.outbox.acked(id);
      if (!entry) continue;
      state.stats.acked += 1;
      if (duplicate) state.stats.duplicates += 1;
      const level = text(data.level) as AckLevel | null;
      state.settle(left(entry, { status: "stored", seq, epoch: text(data.epoch), level, duplicate }));
    }
    state.releaseUnacked(found);
    state.attend(session);
  }
}

/** Takes an entry of a log: passes it on if it is the next one, and a hole before it, too. */
function takeEntry(state: State, message: Incoming, type: "event" | "lifecycle"): void {
  const { seq, sessionId } = message;
  if (message.isReplay && state.replays?.take(message, type)) return;
  if (seq === null || sessionId === null) return;
  const follow = message.isReplay ? null : state.sessions.get(sessionId)?.follow;
  if (follow?.isLive) takeNext(state, message, type, follow, delivered(message, sessionId, seq));
  else state.stats[follow?.isHeld ? "deferred" : "unexpected"] += 1;
}

function takeNext(state: State, { data }: Incoming, type: "event" | "lifecycle", follow: Following, entry: Delivered): void {
  const arrival = follow.arrived(entry.seq, entry.id);
  progress(state);
  if (arrival === "repeats" || arrival === "late") {
    state.stats[arrival] += 1;
    if (arrival === "late") state.give(follow.key, { type: arrival, ...entry });
    return;
  }
  if (arrival !== "next") violated(state, follow, arrival);
  state.stats.delivered += 1;
  const change = data as unknown as SystemMessage;
  state.give(follow.key, type === "event" ? { type, ...entry } : { type, change, ...entry });
}

function violated(state: State, follow: Following, violation: ViolationItem | null): void {
  if (!violation) return;
  state.stats.violations += 1;
  state.give(follow.key, violation);
}

function takeGap(state: State, data: Fields): void {
  const session = text(data.sessionId) ?? "";
  const follow = state.sessions.get(session)?.follow;
  const gap = readGap(data);
  if (!gap) return;
  const isReplayed = state.replays?.skip(session, gap);
  if (!follow || (isReplayed && follow.has(gap.to))) return;
  // One that moves the place is said again when a held follow goes on from there.
  const isOfAnotherHistory = gap.cause === "epoch" || gap.cause === "diverged";
  if (!follow.isLive && !(follow.isHeld && isOfAnotherHistory)) return;
  violated(state, follow, follow.skipped(gap));
  state.give(follow.key, gap);
}

function takePresence(state: State, joined: boolean, data: Fields): void {
  const follow = state.sessions.get(text(data.sessionId) ?? "")?.follow;
  if (follow?.isLive) state.give(follow.key, { type: "presence", joined, presence: data as unknown as Presence });
}

function takeHeartbeat(state: State, now: Now, data: Fields): void {
  const number = state.numberIn("h", data.originalMessageId);
  const sent = state.connection?.heartbeat;
  if (!state.connection || sent?.number !== number) return;
  state.connection.heartbeat = null;
  state.latency = Math.max(now.at - sent.at, 0);
}

function takeReply(state: State, now: Now, data: Fields): void {
  const number = state.numberIn("c", data.originalMessageId);
  if (data.type === "replay_finished") return state.replays?.finished(now, text(data.sessionId) ?? "", number);
  const pending = number === null ? undefined : state.commands.take(number);
  if (number === null || !pending) return;
  progress(state);
  const { purpose } = pending;
  const reply = data as unknown as SystemMessage;
  if (purpose.for === "join") return takeJoined(state, purpose.session, number, data);
  if (purpose.for === "create" && reply.type === "session_created") created(state, reply.sessionId, pending);
  if (purpose.for === "refresh" && reply.type === "token_refreshed") {
    state.token = purpose.token;
    expectExpiry(state, now, reply.tokenExpiresAt ?? null);
  }
  if ("key" in purpose && purpose.key !== null) state.told.push({ type: "reply", key: purpose.key, reply });
}

/** The session exists, and its creator takes part in it, unless the answer is to a repeat on a later connection. */
function created(state: State, session: string, { sends }: Pending): void {
  const found = state.participation(session);
  found.publisher = true;
  if (sends === 1 && found.join.is === "no") found.join = { is: "done", follow: null };
  state.attend(session);
}

function takeJoined(state: State, session: string, number: number, data: Fields): void {
  const found = state.sessions.get(session);
  // Otherwise the session was left meanwhile, and perhaps joined anew.
  if (found?.join.is !== "asked" || found.join.number !== number) return;
  const joined = readJoined(data);
  if (!joined) {
    const detail = `the server answered a join with something else: ${text(data.type) ?? "no type"}`;
    return joinFailed(state, session, new ClientError("unexpectedReply", detail), null);
  }
  const asked = found.join.follow;
  found.join = { is: "done", follow: asked };
  found.joinRefusals = 0;
  const { follow } = found;
  const item = follow?.key === asked ? follow.joined(joined) : null;
  if (follow && follow.key !== asked) follow.isLive = false;
  const isAnswered = (wants: number | null): boolean => wants === null || wants === asked;
  const reply = data as unknown as SystemMessage;
  for (const waiter of found.waiters) {
    if (isAnswered(waiter.follow)) state.told.push({ type: "reply", key: waiter.key, reply });
  }
  found.waiters = found.waiters.filter((waiter) => !isAnswered(waiter.follow));
  if (follow && item) state.give(follow.key, item);
  state.attend(session);
}
