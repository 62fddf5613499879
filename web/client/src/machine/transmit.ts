/** What is to be sent, in the order of its urgency: heartbeats, commands, joins, events. Many messages share a frame. */
import type { Codec, Frame, Piece } from "../codec.js";
import { refused } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import type { Entry } from "./outbox.js";
import type { Participation } from "./participation.js";
import type { Now } from "./settings.js";
import type { Connection, State } from "./state.js";

/** Most events of one session that go before those of another. */
const TURN = 64;
/** Most messages in a frame; the server takes 1024. */
const MAX_BATCH = 256;
/** Bytes of a frame that holds more than one message: small enough that a reply does not wait long behind it. */
const BATCH_BYTES = 64 * 1024;
/** Bytes of an array around its messages, in any format. */
const ARRAY_BYTES = 5;

/** One frame in the making. */
class Batch {
  readonly pieces: Piece[] = [];
  #bytes = ARRAY_BYTES;
  readonly #most: number;

  constructor(maxPayload: number) {
    this.#most = Math.min(BATCH_BYTES, maxPayload);
  }

  /** Whether one more fits. The first always does. */
  fits(piece: Piece): boolean {
    return this.pieces.length === 0 || (this.pieces.length < MAX_BATCH && this.#bytes + piece.bytes + 1 <= this.#most);
  }

  add(piece: Piece): void {
    this.pieces.push(piece);
    this.#bytes += piece.bytes + 1;
  }
}

/** The next frame to be sent now, if there is one. It must be handed to the open connection. */
export function transmit(state: State, now: Now): Frame | null {
  const { connection } = state;
  if (connection?.liveSince == null) return null;
  const { codec } = state.settings;
  const batch = new Batch(connection.maxPayload);
  if (connection.isHeartbeatDue) addHeartbeat(state, now, connection, batch);
  addCommands(state, now, connection, batch) && addJoins(state, now, connection, batch) && addEvents(state, codec, connection, batch);
  if (batch.pieces.length === 0) return null;
  state.stats.frames += 1;
  return codec.join(batch.pieces);
}

/** An envelope, whose content is JSON already. */
function envelope(fields: object, data: string): string {
  return `${JSON.stringify(fields).slice(0, -1)},"data":${data}}`;
}

function addHeartbeat(state: State, now: Now, connection: Connection, batch: Batch): void {
  connection.isHeartbeatDue = false;
  const id = state.newId("h");
  connection.heartbeat = { number: state.lastNumber, at: now.at };
  batch.add(state.settings.codec.encode(envelope({ id, type: "heartbeat", timestamp: now.unix }, "{}")));
}

/** Adds commands. Tells whether there is room for more. */
function addCommands(state: State, now: Now, connection: Connection, batch: Batch): boolean {
  for (let next = state.commands.next(); next; next = state.commands.next()) {
    const [number, { purpose, data }] = next;
    const piece = state.settings.codec.encode(envelope({ id: `${state.run}c${number}`, type: "control_command", timestamp: now.unix }, data));
    if (piece.bytes > connection.maxPayload) {
      state.commands.take(number);
      state.failPurpose(purpose, refused(tooLarge(piece.bytes, connection.maxPayload)));
      continue;
    }
    if (!batch.fits(piece)) return false;
    batch.add(piece);
    state.commands.sent();
    state.stats.commands += 1;
  }
  return true;
}

function addJoins(state: State, now: Now, connection: Connection, batch: Batch): boolean {
  for (let session = state.joins.shift(); session !== undefined; session = state.joins.shift()) {
    const found = state.sessions.get(session);
    if (found?.join.is !== "asked" || found.join.number !== 0) continue;
    const { follow, from } = found.wanted();
    found.join = { is: "asked", follow: found.wantedFollow(), number: state.lastNumber + 1 };
    const data = follow ? { command: "join_session", sessionId: session, follow, from } : { command: "join_session", sessionId: session, follow };
    state.sendCommand(now, { for: "join", session }, data);
    if (!addCommands(state, now, connection, batch)) return false;
  }
  return true;
}

function addEvents(state: State, codec: Codec, connection: Connection, batch: Batch): void {
  for (let session = state.ready.shift(); session !== undefined; session = state.ready.shift()) {
    const found = state.sessions.get(session);
    if (!found) continue;
    found.isListed = false;
    const isFull = addTurn(state, codec, connection, batch, found);
    state.attend(session);
    if (isFull) return;
  }
}

/** One session's turn. Tells whether the frame is full. */
function addTurn(state: State, codec: Codec, connection: Connection, batch: Batch, found: Participation): boolean {
  const { outbox } = found;
  for (let turn = 0; turn < TURN && found.canPublish(state.settings.inFlight); turn += 1) {
    const entry = outbox.next();
    if (!entry) return false;
    const piece = codec.encode(writeEvent(found.session, entry));
    if (piece.bytes > connection.maxPayload) {
      const left = outbox.refuseNext(tooLarge(piece.bytes, connection.maxPayload));
      if (left) state.settle(left);
      state.releaseUnacked(found);
      continue;
    }
    if (!batch.fits(piece)) return true;
    batch.add(piece);
    state.stats.sent += 1;
    if (entry.sends > 0) state.stats.retried += 1;
    outbox.sent();
    state.releaseUnacked(found);
  }
  return false;
}

/** Writes a published event's envelope. */
function writeEvent(sessionId: string, { id, event, timestamp, ticket, sends }: Entry): string {
  const metadata = { requiresAck: ticket !== null, ...event.metadata, ...(sends > 0 && { retryCount: sends }) };
  return envelope({ id, type: "test_event", timestamp, sessionId, metadata }, event.data);
}

/** The refusal that the server would give. */
function tooLarge(bytes: number, most: number): ErrorData {
  const error = `the message has ${bytes} bytes and the server takes at most ${most}`;
  return { error, code: "payload_too_large", retryable: false };
}
