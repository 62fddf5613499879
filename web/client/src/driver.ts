/** Moves frames between a transport and the machine, keeps its clock, and decides nothing. */
import type { Told } from "./machine/outputs.js";
import { closed, opened, token, turnedAway } from "./machine/connect.js";
import { received } from "./machine/receive.js";
import { close, heard, unreachable } from "./machine/requests.js";
import type { Now } from "./machine/settings.js";
import type { State } from "./machine/state.js";
import { timeout } from "./machine/timeouts.js";
import { transmit } from "./machine/transmit.js";
import { ClientError, reasonOf } from "./outcome.js";
import type { Transport, TransportEvents, TransportLink, TransportRequest } from "./transport.js";

/** Bytes that may wait in the socket before no more are written. */
const HIGH_WATER = 1024 * 1024;
/** How often a full socket is looked at again, ms: there is no event for it. */
const LOOK_AGAIN = 20;
/** Longest time that a timer takes, ms. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** What a driver needs beside the machine. */
export interface DriverParts {
  transport: Transport;
  request: Omit<TransportRequest, "token">;
  /** Asked for a token when the machine wants one. */
  fetchToken: () => Promise<string>;
  /** Asked before each attempt to connect; rejects with `fenced` if this client may not any more. */
  mayConnect: () => Promise<void>;
  /** Takes what the machine tells. */
  tell: (told: Told) => void;
  /** All that follows from the last input is done: there may be room in the outbox. */
  rest: () => void;
}

/** The present moment. */
export function present(): Now {
  return { at: performance.now(), unix: Date.now() };
}

/** Runs one machine. */
export class Driver {
  readonly #state: State;
  readonly #parts: DriverParts;
  #link: TransportLink | null = null;
  /** Counts the attempts: what belongs to an earlier one is ignored. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #armedFor: number | null = null;
  #isScheduled = false;

  constructor(state: State, parts: DriverParts) {
    this.#state = state;
    this.#parts = parts;
  }

  /** Asks something of the machine, and does soon what follows from it. */
  run<T extends unknown[], R>(what: (state: State, now: Now, ...more: T) => R, ...more: T): R {
    try {
      return what(this.#state, present(), ...more);
    } finally {
      this.#schedule();
    }
  }

  /** What is asked for in one go is sent in one go. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  /** Does all that the machine wants done. */
  #pump(): void {
    for (let isBusy = true; isBusy; ) {
      isBusy = this.#act() || this.#write();
      for (let told = this.#state.told.shift(); told; told = this.#state.told.shift()) {
        isBusy = true;
        this.#parts.tell(told);
      }
    }
    this.#parts.rest();
    this.#arm();
  }

  #act(): boolean {
    const action = this.#state.actions.shift();
    switch (action?.type) {
      case undefined:
        return false;
      case "connect":
        void this.#connect(action.token);
        return true;
      case "disconnect":
        this.#attempt += 1;
        this.#link?.close(action.code);
        this.#link = null;
        return true;
      case "fetchToken":
        void this.#fetchToken();
        return true;
    }
  }

  async #connect(token: string | null): Promise<void> {
    const attempt = (this.#attempt += 1);
    const isCurrent = (): boolean => attempt === this.#attempt;
    try {
      await this.#parts.mayConnect();
      if (isCurrent()) this.#link = this.#parts.transport({ ...this.#parts.request, token }, this.#events(isCurrent));
    } catch (error) {
      if (isCurrent()) this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const detail = reasonOf(error);
    if (error instanceof ClientError && error.kind === "fenced") this.run(close, { kind: "fenced", detail });
    else this.run(unreachable, detail);
  }

  /** Passes on what a link tells, as long as it is the current one. */
  #events(isCurrent: () => boolean): TransportEvents {
    const pass = <T extends unknown[]>(what: (state: State, now: Now, ...told: T) => void, isEnd = false) => (...told: T): void => {
      if (!isCurrent()) return;
      if (isEnd) this.#link = null;
      this.run(what, ...told);
    };
    return { opened: pass(opened), received: pass(received), heard: pass(heard), refused: pass(turnedAway, true), closed: pass(closed, true) };
  }

  async #fetchToken(): Promise<void> {
    let answer: { token: string } | { error: string };
    try {
      answer = { token: checkToken(await this.#parts.fetchToken()) };
    } catch (error) {
      answer = { error: reasonOf(error) };
    }
    this.run(token, answer);
  }

  /** Hands one frame over, if the socket takes it. */
  #write(): boolean {
    if (!this.#link || this.#link.buffered > HIGH_WATER) return false;
    const frame = transmit(this.#state, present());
    if (frame !== null) this.#link.send(frame);
    return frame !== null;
  }

  /** Sets the timer to what is due next. */
  #arm(): void {
    const isFull = this.#link !== null && this.#link.buffered > HIGH_WATER;
    const { at } = present();
    const next = isFull ? Math.min(this.#state.wakeAt ?? Infinity, at + LOOK_AGAIN) : this.#state.wakeAt;
    if (next === this.#armedFor) return;
    clearTimeout(this.#timer);
    this.#armedFor = next;
    if (next === null) return;
    this.#timer = setTimeout(() => {
      this.#armedFor = null;
      this.run(timeout);
    }, Math.min(Math.max(Math.ceil(next - at), 0), LONGEST_TIMER));
  }
}

/** Gives a token back if a WebSocket can carry it (RFC 6455 §4.1: the value of a header's token). */
export function checkToken(token: string): string {
  if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(token)) return token;
  throw new ClientError("invalid", "the token has characters that no token has: give the bare JWT");
}
