/** What is to be sent, in the order of its urgency: heartbeats, commands, joins, events. Many messages share a frame. */
import type { Frame, Piece } from "../codec.js";
import { refused } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import { askJoin } from "./joins.js";
import { refuse, sent, unanswered } from "./outbox.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** Most events of one session that go before those of another. */
const TURN = 64;
/** Most messages in a frame; the server takes 1024. */
const MAX_BATCH = 256;
/** Bytes of a frame that holds more than one message: small enough that a reply does not wait long behind it. */
const BATCH_BYTES = 64 * 1024;
/** Bytes of an array around its messages, in any format. */
const ARRAY_BYTES = 5;

/** One frame in the making. */
interface Batch {
  readonly pieces: Piece[];
  bytes: number;
  /** Most bytes of a message. */
  readonly maxPayload: number;
}

/** The next frame to be sent now, if there is one. It must be handed to the open connection. */
export function transmit(state: State, now: Now): Frame | null {
  const { connection, settings } = state;
  if (connection?.liveSince == null) return null;
  const { maxPayload } = connection;
  const batch: Batch = { pieces: [], bytes: ARRAY_BYTES, maxPayload };
  if (connection.isHeartbeatDue) {
    connection.isHeartbeatDue = false;
    add(state, batch, { id: state.newId("h"), type: "heartbeat", timestamp: now.unix }, "{}");
    connection.heartbeat = { number: state.lastNumber, at: now.at };
  }
  for (const found of state.joins) {
    if (found.needsJoin()) askJoin(state, now, found);
  }
  state.joins.clear();
  if (addCommands(state, now, batch)) addEvents(state, batch);
  if (batch.pieces.length === 0) return null;
  state.stats.frames += 1;
  return settings.codec.join(batch.pieces);
}

/**
 * Adds an envelope, whose content is JSON already. Gives `false` if it has to wait for the next frame, and the refusal that the
 * server would give if it is too large for any.
 */
function add(state: State, batch: Batch, fields: object, data: string): ErrorData | boolean {
  const { pieces, maxPayload } = batch;
  const piece = state.settings.codec.encode(`${JSON.stringify(fields).slice(0, -1)},"data":${data}}`);
  const bytes = batch.bytes + piece.bytes + 1;
  if (piece.bytes > maxPayload) {
    return { error: `the message has ${piece.bytes} bytes and the server takes at most ${maxPayload}`, code: "payload_too_large", retryable: false };
  }
  // The first always fits.
  if (pieces[0] && (state.suspects.size > 0 || pieces.length >= MAX_BATCH || bytes > Math.min(BATCH_BYTES, maxPayload))) return false;
  pieces.push(piece);
  batch.bytes = bytes;
  return true;
}

/** Adds commands. Tells whether there is room for more. */
function addCommands(state: State, now: Now, batch: Batch): boolean {
  for (const number of state.unsent) {
    const command = state.pending.get(number);
    if (command) {
      const added = add(state, batch, { id: `${state.run}c${number}`, type: "control_command", timestamp: now.unix }, command.data);
      if (!added) return false;
      if (added === true) {
        command.sends += 1;
        state.stats.commands += 1;
      } else {
        state.pending.delete(number);
        command.take(refused(added), now, command);
      }
    }
    state.unsent.delete(number);
  }
  return true;
}

function addEvents(state: State, batch: Batch): void {
  for (const found of state.ready) {
    state.ready.delete(found);
    const isFull = !addTurn(state, batch, found);
    state.attend(found);
    if (isFull) return;
  }
}

/** One session's turn. Tells whether there is room for more. */
function addTurn(state: State, batch: Batch, found: Participation): boolean {
  for (let turn = 0; turn < TURN && found.canPublish(state.settings.inFlight); turn += 1) {
    const index = found.inFlight;
    const entry = found.entries[index];
    if (!entry) break;
    const { id, event, timestamp, ticket, sends } = entry;
    const isAlone = state.suspects.size > 0;
    if (isAlone && unanswered(state) > 0) return false;
    const metadata = { requiresAck: ticket !== null || isAlone, ...event.metadata, ...(sends > 0 && { retryCount: sends }) };
    const added = add(state, batch, { id, type: "test_event", timestamp, sessionId: found.session, metadata }, event.data);
    if (!added) return false;
    if (added === true) sent(state, found, entry);
    else refuse(state, found, index, added, "refusedAgain");
  }
  return true;
}
