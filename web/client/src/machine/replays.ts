/**
 * Sessions that are replayed: the log again at its own pace, over reconnects. Loaded with the first replay.
 *
 * The server's entries of a replay name the session and not the replay, so a client has one replay of a session at a time, and
 * takes exactly the next entry: what is left of an earlier one that the user has given up is passed over.
 */
import type { GapItem } from "../item.js";
import { ClientError, refused } from "../outcome.js";
import type { ErrorData } from "../protocol.js";
import { delivered, type Incoming } from "./inbound.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** One replay. */
interface Replaying {
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

/** The replays of a machine, which from here on has them. */
export function replaysOf(state: State): Replays {
  return (state.replays ??= new Replays(state));
}

/** All replays of a machine, one of a session. */
export class Replays {
  readonly #state: State;
  readonly #all = new Map<string, Replaying>();

  constructor(state: State) {
    this.#state = state;
  }

  /** Begins one; `key` is told of the start, the items go under `own`. Throws `ended`, `alreadyFollowing`. */
  begin(now: Now, key: number, own: number, session: string, speed: number, fromSeq: number): void {
    this.#state.checkOpen();
    if (this.#all.has(session)) throw new ClientError("alreadyFollowing", "this client replays the session already");
    const found = { key: own, speed, next: Math.max(fromSeq, 1), number: null, isPaused: false, isBehind: false };
    this.#all.set(session, found);
    this.#ask(now, session, found, key);
  }

  #ask(now: Now, session: string, found: Replaying, key: number | null): void {
    found.number = this.#state.lastNumber + 1;
    found.isBehind = false;
    const data = { command: "replay_session", sessionId: session, speed: found.speed, fromSeq: found.next };
    this.#state.sendCommand(now, { for: "replay", session, key }, data);
  }

  /** A replay's reader has more than enough, or room again. */
  setPaused(now: Now, session: string, own: number, isPaused: boolean): void {
    const found = this.#all.get(session);
    if (found?.key !== own) return;
    found.isPaused = isPaused;
    this.resume(now);
  }

  /** Ends a replay. Nothing is told of it any more. Gives the id of its command, if the server has that. */
  drop(session: string, own: number): string | null {
    const found = this.#all.get(session);
    if (found?.key !== own) return null;
    this.#all.delete(session);
    const { commands, run } = this.#state;
    const { number } = found;
    if (number === null) return null;
    const pending = commands.take(number);
    return pending?.sends === 0 ? null : `${run}c${number}`;
  }

  /** The same, and asks the server to send no more of it. */
  stop(now: Now, session: string, own: number): void {
    const originalMessageId = this.drop(session, own);
    // What an older server says to that goes to nobody.
    if (originalMessageId !== null && this.#state.isConnected) {
      this.#state.sendCommand(now, { for: "nobody" }, { command: "stop_replay", sessionId: session, originalMessageId });
    }
  }

  /** The connection is lost: those that had begun are asked for again on the next one. The others' commands are repeated. */
  cut(): void {
    for (const found of this.#all.values()) if (found.number !== null && !this.#state.commands.get(found.number)) found.number = null;
  }

  /** There is a connection, or room: asks for those that are to go on. */
  resume(now: Now): void {
    if (!this.#state.isConnected) return;
    for (const [session, found] of this.#all) if (found.number === null && !found.isPaused) this.#ask(now, session, found, null);
  }

  /** Takes an entry of a replay, if it is the next one of one that is wanted; tells whether it is. */
  take(message: Incoming, type: "event" | "lifecycle"): boolean {
    const { seq, sessionId, data } = message;
    const found = this.#all.get(sessionId ?? "");
    if (seq === null || sessionId === null || found?.next !== seq || found.isBehind) return false;
    if (found.isPaused) found.isBehind = true;
    else {
      found.next = seq + 1;
      const entry = delivered(message, sessionId, seq);
      this.#state.give(found.key, type === "event" ? { type, ...entry } : { type, change: data as never, ...entry });
    }
    return true;
  }

  /** Takes a gap, if a replay has come to it: these causes hold for every reader of the log. Tells whether it has. */
  skip(session: string, gap: GapItem): boolean {
    const found = this.#all.get(session);
    if (!found || found.isBehind || gap.from !== found.next || !["damaged", "retention"].includes(gap.cause)) return false;
    found.next = gap.to + 1;
    this.#state.give(found.key, gap);
    return true;
  }

  /** The end of the replay that this command began. */
  finished(now: Now, session: string, number: number | null): void {
    const found = this.#all.get(session);
    if (!found || number === null || found.number !== number) return;
    if (found.isBehind) {
      found.number = null;
      return this.resume(now);
    }
    this.end(session, null);
  }

  /** The server cannot go on with the replay that this command began. */
  refused(number: number, refusal: ErrorData): void {
    for (const [session, found] of this.#all) if (found.number === number) this.end(session, refused(refusal));
  }

  /** A replay is over: at its end (`null`), or since it failed. */
  end(session: string, error: ClientError | null): void {
    const found = this.#all.get(session);
    this.#all.delete(session);
    if (found) this.#state.told.push(error ? { type: "followEnded", follow: found.key, error } : { type: "replayFinished", replay: found.key });
  }

  /** The client has ended. */
  endAll(error: ClientError): void {
    for (const session of [...this.#all.keys()]) this.end(session, error);
  }
}
