/**
 * Sessions that are replayed: the log again at its own pace, over reconnects. Loaded with the first replay.
 *
 * The server's entries of a replay name the session and not the replay, so a client has one replay of a session at a time, and
 * takes exactly the next entry: what is left of an earlier one that the user has given up is passed over.
 */
import type { EventItem, GapItem, LifecycleItem } from "../item.js";
import type { ClientError } from "../outcome.js";
import type { Answered, Reader } from "./outputs.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** One replay. */
interface Replaying {
  readonly reader: Reader;
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

  /** Begins one; `answered` is told of the start. Throws `ended`, `alreadyFollowing`. */
  begin(now: Now, answered: Answered, reader: Reader, session: string, speed: number, fromSeq: number): void {
    this.#state.checkOpen();
    if (this.#all.has(session)) this.#state.refuseSecondReader();
    const found: Replaying = { reader, speed, next: Math.max(fromSeq, 1), number: null, isPaused: false, isBehind: false };
    this.#all.set(session, found);
    this.#ask(now, session, found, answered);
  }

  #ask(now: Now, session: string, found: Replaying, answered: Answered | null): void {
    const state = this.#state;
    found.isBehind = false;
    const data = { command: "replay_session", sessionId: session, speed: found.speed, fromSeq: found.next };
    found.number = state.sendCommand(now, data, (answer) => {
      if (answer instanceof Error && this.#all.get(session) === found) this.end(session, answer);
      if (answered) state.answer(answered, answer);
    });
  }

  /** A replay's reader has more than enough, or room again. */
  setPaused(now: Now, session: string, own: Reader, isPaused: boolean): void {
    const found = this.#all.get(session);
    if (found?.reader !== own) return;
    found.isPaused = isPaused;
    this.resume(now);
  }

  /** Ends a replay, and asks the server to send no more of it. Nothing is told of it any more. */
  stop(now: Now, session: string, own: Reader): void {
    const found = this.#all.get(session);
    if (found?.reader !== own) return;
    this.#all.delete(session);
    const { number } = found;
    if (number === null) return;
    const { pending, run, unsent } = this.#state;
    const wasSent = pending.get(number)?.sends !== 0;
    pending.delete(number);
    unsent.delete(number);
    // What an older server says to that goes to nobody.
    if (wasSent) this.#state.mention(now, { command: "stop_replay", sessionId: session, originalMessageId: `${run}c${number}` });
  }

  /** The connection is lost: those that had begun are asked for again on the next one. The others' commands are repeated. */
  cut(): void {
    for (const found of this.#all.values()) if (found.number !== null && !this.#state.pending.has(found.number)) found.number = null;
  }

  /** There is a connection, or room: asks for those that are to go on. */
  resume(now: Now): void {
    if (!this.#state.isConnected) return;
    for (const [session, found] of this.#all) if (found.number === null && !found.isPaused) this.#ask(now, session, found, null);
  }

  /** Takes an entry of a replay, if it is the next one of one that is wanted; tells whether it is. */
  take(item: EventItem | LifecycleItem): boolean {
    const found = this.#all.get(item.sessionId);
    if (found?.next !== item.seq || found.isBehind) return false;
    if (found.isPaused) found.isBehind = true;
    else {
      found.next += 1;
      this.#give(found, item);
    }
    return true;
  }

  #give({ reader }: Replaying, item: EventItem | LifecycleItem | GapItem): void {
    this.#state.outputs.push(() => reader.push(item));
  }

  /** Takes a gap, if a replay has come to it: these causes hold for every reader of the log. Tells whether it has. */
  skip(session: string, gap: GapItem): boolean {
    const found = this.#all.get(session);
    if (!found || found.isBehind || gap.from !== found.next || !["damaged", "retention"].includes(gap.cause)) return false;
    found.next = gap.to + 1;
    this.#give(found, gap);
    return true;
  }

  /** The end of the replay that this command began. */
  finished(now: Now, session: string, number: number): void {
    const found = this.#all.get(session);
    if (found?.number !== number) return;
    if (found.isBehind) {
      found.number = null;
      return this.resume(now);
    }
    this.end(session, null);
  }

  /** The server cannot go on with the replay that this command began. */
  refused(number: number, error: ClientError): void {
    for (const [session, found] of this.#all) if (found.number === number) this.end(session, error);
  }

  /** A replay is over: at its end (`null`), or since it failed. */
  end(session: string, error: ClientError | null): void {
    const found = this.#all.get(session);
    this.#all.delete(session);
    this.#state.outputs.push(() => found?.reader.end(error));
  }

  /** The client has ended. */
  endAll(error: ClientError): void {
    for (const session of [...this.#all.keys()]) this.end(session, error);
  }
}
